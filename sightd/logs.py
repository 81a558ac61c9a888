"""Logging as every command does it: lines on stderr, each with its thread's name, free of passwords."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Optional, Type

from .redact import redact

__all__ = ["RedactingFormatter", "configure_logging", "log_the_uncaught"]

_log = logging.getLogger(__name__)


def configure_logging(level: str) -> None:
    """Log to stderr from *level* (debug, info, warning, error) on."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)-7s %(threadName)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def log_the_uncaught() -> None:
    """Let exceptions that nobody catches, and warnings, pass the log's formatter: Python would print them as they are.

    They may come from threads of other libraries, and hold the URL of a camera.
    """
    sys.excepthook = _uncaught
    threading.excepthook = lambda what: _uncaught(what.exc_type, what.exc_value, what.exc_traceback)
    sys.unraisablehook = lambda what: _uncaught(what.exc_type, what.exc_value, what.exc_traceback)
    logging.captureWarnings(True)


def _uncaught(kind: Type[BaseException], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
    _log.error("uncaught: %s", kind.__name__, exc_info=(kind, error or kind(), trace))


class RedactingFormatter(logging.Formatter):
    """The last line of defence: tracebacks and other libraries' messages come this way too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
