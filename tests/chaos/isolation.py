"""Scenarios that need namespaces of their own: run as another process under unshare."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List

from tests.chaos.effort import Effort
from tests.chaos.outcome import Outcome

__all__ = ["UnavailableError", "give_up", "isolated", "report"]

_ROOT = Path(__file__).parents[2]
_UNAVAILABLE = 77  # the custom of autotools: skipped


class UnavailableError(Exception):
    """Not on this machine; why."""


def isolated(namespace: str, scenario: str, folder: Path, effort: Effort) -> List[Outcome]:
    """What *scenario* (of tests.chaos.scenarios) gives in a *namespace*, an option of unshare.

    :raises UnavailableError: we are not root, or the kernel or a container around us does not allow it.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        raise UnavailableError("namespaces need root and unshare")
    if subprocess.run(["unshare", namespace, "true"], capture_output=True, check=False).returncode:
        raise UnavailableError(f"unshare {namespace} is not allowed here")
    command = [sys.executable, "-m", "tests.chaos", scenario, str(folder), str(effort.seed), str(effort.seconds)]
    done = subprocess.run(
        ["unshare", "--kill-child", "--fork", namespace, *command],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == _UNAVAILABLE:
        raise UnavailableError(done.stdout.strip())
    if done.returncode:
        raise AssertionError(f"{scenario} failed:\n{done.stderr[-8000:]}")
    return [Outcome(**one) for one in json.loads(done.stdout)]


def report(outcomes: List[Outcome]) -> None:
    """For :func:`isolated`, which reads it."""
    print(json.dumps([outcome.figures() for outcome in outcomes]))  # noqa: T201


def give_up(reason: UnavailableError) -> None:
    """The same of what can't be done here."""
    print(reason)  # noqa: T201
    raise SystemExit(_UNAVAILABLE)
