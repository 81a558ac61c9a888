"""The command that people have run when a new version of a bundle is in service: it restarts the daemon, say."""

from __future__ import annotations

import logging
import shlex
import subprocess
from typing import Optional

__all__ = ["run_on_success"]

_TIMEOUT_S = 120.0
_log = logging.getLogger(__name__)


def run_on_success(command: Optional[str]) -> Optional[int]:
    """Run *command* without a shell; its exit code, -1 where it did not run or did not end, None without a command.

    Its failure is logged and changes nothing of the bundle.
    """
    if not command:
        return None
    try:
        done = subprocess.run(shlex.split(command), timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        _log.error("%s: %s", command, error)
        return -1
    if done.returncode:
        _log.error("%s: ended with %d", command, done.returncode)
    return done.returncode
