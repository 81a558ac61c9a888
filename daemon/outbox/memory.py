"""Events that are not stored yet: in order, bounded."""

from __future__ import annotations

import heapq
from typing import Callable, Dict, Iterable, Iterator, List

from .message import Message

__all__ = ["EventMemory"]

#: Events that wait at most, and how many go at a time when they are more.
_MOST, _DROPPED_TOGETHER = 5000, 50
#: Events of one commit at most, and their bytes about.
_BATCH, _BATCH_BYTES = 500, 256 << 10


class EventMemory:
    """Where the disk is slow or in trouble events gather here, up to a bound. Not for use by several threads."""

    def __init__(self) -> None:
        self._events: Dict[int, Message] = {}

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._events.values())

    @property
    def is_full(self) -> bool:
        """Whether there are more than there should be."""
        return len(self._events) > _MOST

    def add(self, event: Message) -> None:
        """Keep *event*, whose number is higher than all before."""
        self._events[event.seq] = event

    def remove(self, numbers: Iterable[int]) -> None:
        """These need not wait any more, if they do."""
        for seq in numbers:
            self._events.pop(seq, None)

    def matching(self, holds: Callable[[int], bool]) -> List[int]:
        """The numbers for which that holds."""
        return [seq for seq in self._events if holds(seq)]

    def drop(self) -> int:
        """Make room: the oldest of the lowest priority go. How many they were."""
        count = len(self._events) - _MOST + _DROPPED_TOGETHER
        order = heapq.nsmallest(count, self._events.values(), key=lambda event: (event.priority, event.seq))
        self.remove(event.seq for event in order)
        return len(order)

    def batch(self) -> List[Message]:
        """The oldest ones, as many as one commit should have."""
        batch: List[Message] = []
        size = 0
        for event in self._events.values():
            size += len(event.payload)
            if len(batch) >= _BATCH or (batch and size > _BATCH_BYTES):
                break
            batch.append(event)
        return batch
