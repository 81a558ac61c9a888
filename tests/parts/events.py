"""Events for tests of the outbox, and a folder that a process leaves behind when it is killed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import List

from daemon.outbox.message import Message
from daemon.outbox.spool import EventSpool

__all__ = ["crash_image", "drain", "event", "seqs"]


def event(seq: int, topic: str = "sightd/porch/gate/events", *, priority: int = 0, size: int = 0) -> Message:
    """Number *seq*; its payload tells the number, too, and has *size* bytes more."""
    return Message(topic, b'{"seq": %d}' % seq + b" " * size, seq=seq, priority=priority)


def seqs(messages: List[Message]) -> List[int]:
    return [message.seq for message in messages]


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
