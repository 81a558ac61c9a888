"""The live part: the daemon runs, its messages are watched, and it must go as it promises to."""

from __future__ import annotations

import math
import subprocess
import time
from pathlib import Path
from typing import Dict

from rich.console import Console

from sightd.errors import SightdError

from .broker import BrokerAddress
from .commands import last_lines, running_daemon
from .watch import CameraFigures, Watcher

__all__ = ["watch_live"]

_ONLINE_DEADLINE_S = 120.0
_STOPPED_DEADLINE_S = 10.0


def watch_live(
    console: Console, config: Path, log: Path, broker: BrokerAddress, prefix: str, seconds: float
) -> Dict[str, CameraFigures]:
    """Run the daemon, print what arrives for *seconds* (0: until Ctrl-C), stop it; figures by camera.

    :raises SightdError: it ended by itself, never came online, or did not say that it stopped.
    """
    with Watcher(broker, prefix, console) as watcher:
        with running_daemon(console, config, log) as daemon:
            _until_online(watcher, daemon, log)
            try:
                _until_over(watcher, daemon, log, seconds or math.inf)
            except KeyboardInterrupt:
                console.print("Ctrl-C: stopping the daemon")
        _until_stopped(watcher, log)
        return watcher.cameras


def _until_online(watcher: Watcher, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _ONLINE_DEADLINE_S
    watcher.watch(lambda: watcher.availability == "online" or _over(daemon, deadline))
    if watcher.availability != "online":
        raise SightdError(f"the daemon did not come online; the end of its log {log}:\n{last_lines(log)}")


def _until_over(watcher: Watcher, daemon: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    watcher.watch(lambda: _over(daemon, deadline))
    if daemon.poll() is not None:
        raise SightdError(f"the daemon ended by itself; the end of its log {log}:\n{last_lines(log)}")


def _until_stopped(watcher: Watcher, log: Path) -> None:
    deadline = time.monotonic() + _STOPPED_DEADLINE_S
    watcher.watch(lambda: watcher.availability == "stopped" or time.monotonic() >= deadline)
    if watcher.availability != "stopped":
        raise SightdError(f"the daemon did not say that it stopped; the end of its log {log}:\n{last_lines(log)}")


def _over(daemon: subprocess.Popen[bytes], deadline: float) -> bool:
    return time.monotonic() >= deadline or daemon.poll() is not None
