"""The hand-over from the inference thread to the analysis thread: two batches at most, an end from either side."""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import Deque, Optional

from .batches import Inferred

__all__ = ["HandOver"]


class HandOver:
    """What is inferred, in order; one thread puts, one gets.

    A queue would keep the putting thread for ever once nobody gets from it any more: an analysis that failed would
    hold the inference up, and with it the end of the service.
    """

    def __init__(self, capacity: int = 2) -> None:
        self._capacity = capacity
        self._waiting: Deque[Optional[Inferred]] = deque()
        self._changed = threading.Condition()
        self._abandoned = False

    def put(self, inferred: Optional[Inferred]) -> None:
        """Add *inferred* and block while it is full; None says that nothing follows, and there is always room for it.

        When nobody gets any more it is lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: inferred is None or self._abandoned or len(self._waiting) < self._capacity)
            if not self._abandoned:
                self._waiting.append(inferred)
                self._changed.notify_all()

    def get(self, timeout: Optional[float] = None) -> Optional[Inferred]:
        """The oldest; blocks until there is one.

        :raises queue.Empty: there was none for *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._waiting), timeout):
                raise queue.Empty
            inferred = self._waiting.popleft()
            self._changed.notify_all()
            return inferred

    def abandon(self) -> None:
        """Nobody gets from it any more: from now on :meth:`put` returns at once."""
        with self._changed:
            self._abandoned = True
            self._waiting.clear()
            self._changed.notify_all()
