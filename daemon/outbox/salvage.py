"""A store of events that is damaged as a whole: put out of the way, and what is sound read out of it."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Generator, Iterator, List, Tuple

from .message import Message
from .sqlite import DamagedStore, DiskError
from .store import EventReader, EventStore

__all__ = ["renew"]

#: Damaged files that are kept to be looked at.
_SET_ASIDE = 2
#: Rows of a damaged file that are moved at a time.
_SALVAGED = 500
#: Beyond every number.
_LAST = (1 << 63) - 1


def renew(path: Path, max_events: int, max_bytes: int, known: int, now_ms: int) -> Tuple[Path, int]:
    """Put a store with the sound events of the damaged one in its place; where that is now, and how many they are.

    The damaged one stays until the new one is whole: what is interrupted can begin anew.

    :param known: the highest number that is known to have been given to an event; 0: it is not known.
    """
    fresh, moved = path.with_name("salvaged.db"), 0
    _remove(fresh)
    with closing(EventStore(fresh, max_events, max_bytes)) as store:
        for events in _readable(path, max_events):
            store.write(events, now_ms=now_ms)
            moved += len(events)
        if not known and not moved:
            known = int(time.time() * 1000)
        store.remember(max(known, store.high_water))
    damaged = path.with_name(f"damaged-{time.time_ns()}.db")
    _move(path, damaged)
    _move(fresh, path)
    others = sorted(other for other in path.parent.glob("damaged-*.db") if other != damaged)
    for old in others[: max(0, len(others) + 1 - _SET_ASIDE)]:
        _remove(old)
    return damaged, moved


def _move(path: Path, target: Path) -> None:
    """With its log, which belongs to it and must never meet another file."""
    for suffix in ("-wal", ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{target}{suffix}")
    Path(f"{path}-shm").unlink(missing_ok=True)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _readable(path: Path, most: int) -> Iterator[List[Message]]:
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
