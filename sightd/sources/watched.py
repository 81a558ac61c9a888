"""A source of which other threads can tell that its picture does not come, while its own thread waits for it."""

from __future__ import annotations

import math
import time
from typing import Optional

from ..types import Image
from .base import Source

__all__ = ["WatchedSource"]


class WatchedSource(Source):
    """*source*, of which any thread may ask whether a picture is overdue."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.live, self.is_camera = source.live, source.is_camera
        self._due_s = math.inf

    def is_overdue(self) -> bool:
        """Whether a picture is waited for longer than the source's patience, or did not come (any thread).

        Until it is closed, so that one that gives up waiting can say so first.
        """
        return time.monotonic() > self._due_s

    def open(self) -> None:
        self._source.open()
        self.live, self.is_camera = self._source.live, self._source.is_camera

    def expect(self, clock_s: float) -> None:
        self._source.expect(clock_s)

    def grab(self) -> bool:
        self._due_s = time.monotonic() + self._source.patience_s()
        grabbed = self._source.grab()
        self._due_s = math.inf
        return grabbed

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return self._source.retrieve(into)

    def close(self) -> None:
        self._due_s = math.inf
        self._source.close()

    def end(self) -> None:
        self._source.end()

    def clock_s(self) -> float:
        return self._source.clock_s()

    def patience_s(self) -> float:
        return self._source.patience_s()

    def cpu_s(self) -> float:
        return self._source.cpu_s()

    def is_damaged(self) -> bool:
        return self._source.is_damaged()
