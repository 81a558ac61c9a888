"""Logging as every command does it: lines on stderr, each with its thread's name, free of passwords."""

from __future__ import annotations

import logging

from .redact import redact

__all__ = ["RedactingFormatter", "configure_logging"]


def configure_logging(level: str) -> None:
    """Log to stderr from *level* (debug, info, warning, error) on."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)-7s %(threadName)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class RedactingFormatter(logging.Formatter):
    """The last line of defence: tracebacks and other libraries' messages come this way too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
