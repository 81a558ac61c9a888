"""A source that is read in this process, where nobody can end it when the library below hangs: at least that shows."""

from __future__ import annotations

import math
import time
from typing import Optional

from ..types import Image
from .base import Source

__all__ = ["WatchedSource"]


class WatchedSource(Source):
    """*source*, of which any thread may ask whether its thread is stuck in it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.live, self.is_camera = source.live, source.is_camera
        self._due_s = math.inf

    def is_stuck(self) -> bool:
        """Whether a picture is waited for longer than the source may take (any thread)."""
        return time.monotonic() > self._due_s

    def open(self) -> None:
        self._source.open()

    def grab(self) -> bool:
        self._due_s = time.monotonic() + self._source.patience_s()
        try:
            return self._source.grab()
        finally:
            self._due_s = math.inf

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return self._source.retrieve(into)

    def close(self) -> None:
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
