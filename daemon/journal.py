"""Logging as journald likes it: a priority for each line and, with systemd-python, fields to search by.

    journalctl -u sightd CAMERA=yard

Without that package the lines are the same, but found by their text only.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any, Dict, Optional

from sightd.logs import RedactingFormatter

__all__ = ["fields_of", "log_to_journal"]

#: syslog's levels, from the least severe on.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))


def log_to_journal(level: str) -> None:
    """Let the root logger write to journald, if that is where stderr goes; otherwise leave it alone."""
    if not _stderr_is_journal():
        return
    handler = _native_handler() or _StderrHandler()
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def fields_of(record: logging.LogRecord) -> Dict[str, str]:
    """PRIORITY, LOGGER and STAGE, CAMERA for what concerns one camera, EVENT (its id) for what concerns one event.

    They are given as ``extra={"camera": name, "event": id}``; the thread's name, camera-NAME, tells the camera too.
    """
    stage, _, camera = (record.threadName or "").partition("-")
    stage = "main" if stage == "MainThread" else stage
    camera = getattr(record, "camera", camera if stage == "camera" else "")
    fields = {"PRIORITY": str(_priority(record.levelno)), "LOGGER": record.name, "STAGE": stage}
    about = {"CAMERA": camera, "EVENT": getattr(record, "event", "")}
    return {**fields, **{name: value for name, value in about.items() if value}}


def _priority(level: int) -> int:
    return next(priority for floor, priority in _PRIORITIES if level >= floor)


def _stderr_is_journal() -> bool:
    """As sd_journal(3) says: the variable holds device and inode of the stream that systemd connected."""
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or replaced by something without a descriptor
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def _native_handler() -> Optional[logging.Handler]:
    """None without systemd-python, which is an extra."""
    try:
        journal = import_module("systemd.journal")
    except ImportError:
        return None
    return _JournalHandler(journal.send)


class _JournalHandler(logging.Handler):
    """Sends fields. systemd-python's own handler would send arguments and tracebacks too, passwords included."""

    def __init__(self, send: Any) -> None:
        super().__init__()
        self._send = send
        self.setFormatter(RedactingFormatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._send(self.format(record), SYSLOG_IDENTIFIER="sightd", **fields_of(record))


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic only for type checkers on 3.8
    """Lines with the priority in front, which journald takes off: sd-daemon(3)."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(RedactingFormatter("%(threadName)s: %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())
