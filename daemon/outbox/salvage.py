"""A store of events that is damaged as a whole: put out of the way, and what is sound read out of it."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Generator, Iterator, List

from .message import Message
from .sqlite import DamagedStore, DiskError
from .store import EventReader

__all__ = ["readable", "set_aside"]

#: Damaged files that are kept to be looked at.
_SET_ASIDE = 2
#: Rows of a damaged file that are moved at a time.
_SALVAGED = 500
#: Beyond every number.
_LAST = (1 << 63) - 1


def set_aside(path: Path) -> Path:
    """Rename the file and its log, which belongs to it; the oldest beyond a few are removed."""
    damaged = path.with_name(f"damaged-{time.time_ns()}.db")
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{damaged}{suffix}")
    Path(f"{path}-shm").unlink(missing_ok=True)
    for old in sorted(path.parent.glob("damaged-*.db"))[:-_SET_ASIDE]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    return damaged


def readable(path: Path, most: int) -> Iterator[List[Message]]:
    """The sound events of a damaged file: from the oldest on to the damage, then from the newest back to it."""
    with suppress(DiskError, DamagedStore), closing(EventReader(path)) as reader:
        first = yield from _read_on(reader, 0, _LAST, most)
        yield from _read_on(reader, _LAST, first, most)


def _read_on(reader: EventReader, start: int, end: int, most: int) -> Generator[List[Message], None, int]:
    """Sound events from *start* towards *end*, in smaller steps where it gets difficult; returns how far it came."""
    position, step, down = start, _SALVAGED, start > end
    while step and most > 0:
        try:
            rows = reader.read(position, step, newest_first=down)
        except DamagedStore:
            step //= 2
            continue
        if not rows:
            return end
        sound = [event for seq, event in rows if event is not None and (seq > end if down else True)]
        position, most = rows[-1][0], most - len(sound)
        yield sorted(sound, key=lambda event: event.seq)
        if down and position <= end:
            break
    return position
