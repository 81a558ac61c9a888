"""Which events the broker has taken, and how long they are kept all the same."""

from __future__ import annotations

from itertools import takewhile
from typing import Dict, Iterator, List

__all__ = ["Receipts"]

#: What was sent again stays so long after its new receipt, in seconds, however old the first one is.
_HOLD_S = 2.0
#: First receipts that are remembered; of events that were dropped since, some are never asked for again.
_MOST_FIRST = 20_000


class Receipts:
    """A receipt is no proof that anybody got the event: the broker may die with what it has not handed on yet.

    So an event counts as delivered when the broker has lived on for *replay_s* after its first receipt. A receipt is
    one of this connection; the next one sends the event again, without its time beginning anew: else connections
    that never last would send more and more. Times are monotonic seconds. Not for use by several threads.
    """

    def __init__(self, replay_s: float) -> None:
        self._replay_s = replay_s
        #: Of this connection, the oldest first; and of any.
        self._latest: Dict[int, float] = {}
        self._first: Dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def __iter__(self) -> Iterator[int]:
        return iter(self._latest)

    def __contains__(self, seq: int) -> bool:
        return seq in self._latest

    def begin(self) -> None:
        """A new connection: nothing has a receipt."""
        self._latest.clear()

    def add(self, seq: int, now: float) -> None:
        """The broker took event *seq*."""
        self._latest[seq] = now
        self._first.setdefault(seq, now)
        if len(self._first) > _MOST_FIRST:
            del self._first[next(iter(self._first))]

    def forget(self, seq: int) -> None:
        """Event *seq* is not there any more."""
        self._latest.pop(seq, None)
        self._first.pop(seq, None)

    def delivered(self, heard_at: float) -> List[int]:
        """Those that need not be kept, the broker having given a sign of life at *heard_at*."""
        return list(takewhile(lambda seq: self._is_delivered(seq, heard_at), self._latest))

    def _is_delivered(self, seq: int, heard_at: float) -> bool:
        latest = self._latest[seq]
        held = latest + min(self._replay_s, _HOLD_S) <= heard_at
        return held and self._first.get(seq, latest) + self._replay_s <= heard_at
