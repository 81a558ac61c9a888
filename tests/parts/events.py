"""Events for tests of the outbox, and a folder that a process leaves behind when it is killed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, List

from daemon.outbox.disk import DiskOptions
from daemon.outbox.message import Message
from daemon.outbox.spool import EventSpool

__all__ = ["OpenSpool", "crash_image", "drain", "event", "prove", "put", "seqs", "take"]


class OpenSpool:
    """Opens spools of events that begin at once, and closes those that are open at the end."""

    def __init__(self) -> None:
        self._opened: List[EventSpool] = []

    def __call__(self, folder: Path, replay_s: float = 10.0, settle_s: float = 0.0, **options: Any) -> EventSpool:
        spool = EventSpool(DiskOptions(folder, **options), replay_s, settle_s, catch_up_rate=1e9)
        spool.begin()
        self._opened.append(spool)
        return spool

    def close(self) -> None:
        for spool in self._opened:
            spool.close()


def event(seq: int, topic: str = "sightd/porch/gate/events", *, priority: int = 0, size: int = 0) -> Message:
    """Number *seq*; its payload tells the number, too, and has *size* bytes more."""
    return Message(topic, b'{"seq": %d}' % seq + b" " * size, seq=seq, priority=priority)


def seqs(messages: List[Message]) -> List[int]:
    return [message.seq for message in messages]


def put(spool: EventSpool, count: int, topic: str = "a", **about: Any) -> List[int]:
    """*count* more events; their numbers."""
    numbers = [spool.next_seq() for _ in range(count)]
    for seq in numbers:
        spool.put(event(seq, topic, **about))
    return numbers


def take(spool: EventSpool, limit: int = 100) -> List[Message]:
    """What it gives now."""
    return spool.take(limit, time.monotonic())


def prove(spool: EventSpool, *topics: str) -> None:
    """Have the broker take an event of each of *topics*, so that the next ones are not held back."""
    for topic in topics:
        put(spool, 1, topic)
    spool.store()
    for message in take(spool):
        spool.receipt(message, "")


def drain(spool: EventSpool, deadline_s: float = 10) -> List[Message]:
    """Take and acknowledge everything that the spool can give without its storing thread."""
    taken: List[Message] = []
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        spool.store()
        some = spool.take(10, time.monotonic())
        for message in some:
            spool.receipt(message, "")
        taken += some
        if not some:
            return taken
    raise AssertionError(f"there is no end to it: {len(taken)} taken")


def crash_image(folder: Path, to: Path) -> Path:
    """What is on the disk of *folder* now, as a process finds it that starts after kill -9."""
    to.mkdir()
    for path in folder.iterdir():
        if not path.name.endswith("-shm"):
            shutil.copy(path, to / path.name)
    return to
