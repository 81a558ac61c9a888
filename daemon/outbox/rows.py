"""An event as a row of a database that may be damaged, and back: a checksum over all of its columns."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Optional, Sequence, Tuple

from .message import Message

__all__ = ["COLUMNS", "Row", "mark_row", "read_mark", "read_row", "to_row"]

COLUMNS = "seq, at, priority, topic, payload, crc"

Row = Tuple[int, int, int, bytes, bytes, int]


def to_row(message: Message, at_ms: int) -> Row:
    """The row of *message*, which came at *at_ms* (Unix milliseconds)."""
    columns = message.seq, at_ms, message.priority, message.topic.encode(), message.payload
    return (*columns, _crc(*columns))


def read_row(row: Sequence[Any]) -> Optional[Message]:
    """The event of a row; None: it is not as it was written. SQLite gives any type for any column then."""
    try:
        seq, at_ms, priority, topic, payload, crc = row
        if crc == _crc(seq, at_ms, priority, topic, payload):
            return Message(topic.decode(), payload, seq=seq, priority=priority)
    except (struct.error, TypeError, ValueError, AttributeError):
        pass
    return None


def mark_row(seq: int) -> Tuple[int, int]:
    """The row that remembers the highest number, *seq*, when all events are gone."""
    return seq, zlib.crc32(struct.pack("<q", seq))


def read_mark(row: Optional[Sequence[Any]]) -> int:
    """The highest number that was given; 0 when it can't be known."""
    try:
        return int(row[0]) if row is not None and tuple(row) == mark_row(row[0]) else 0
    except (struct.error, TypeError, ValueError):
        return 0


def _crc(seq: int, at_ms: int, priority: int, topic: bytes, payload: bytes) -> int:
    head = struct.pack("<qqqI", seq, at_ms, priority, len(topic))
    return zlib.crc32(payload, zlib.crc32(head + topic))
