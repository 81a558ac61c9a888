"""Runs sightd's own commands as a user would type them, each printed before it starts."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from rich.console import Console

from sightd.errors import SightdError

__all__ = ["last_lines", "running_daemon", "sightd"]

_STOP_DEADLINE_S = 20.0
_SIGHTD = (sys.executable, "-m", "sightd")


def sightd(console: Console, *arguments: str, allowed: int = 0) -> int:
    """Run ``sightd ARGUMENTS`` to its end, its output shown as it comes.

    :param allowed: an exit status beside 0 that is no failure.
    :raises SightdError: any other exit status.
    """
    _show(console, *arguments)
    status = subprocess.run([*_SIGHTD, *arguments], stdin=subprocess.DEVNULL, check=False).returncode
    if status not in (0, allowed):
        raise SightdError(f"`sightd {arguments[0]}` ended with exit status {status}; its message is above")
    return status


@contextmanager
def running_daemon(console: Console, config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``sightd run`` in the background, its log in *log*; SIGTERM at the end, and killed if that doesn't help."""
    _show(console, "run", "--config", str(config))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_SIGHTD, "run", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, for an error message."""
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-count:])


def _show(console: Console, *arguments: str) -> None:
    console.print(f"$ sightd {shlex.join(arguments)}", style="bold", highlight=False, markup=False)
