"""What every source of pictures offers, whichever library reads it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Optional

from ..types import Image
from .network import STALLED_S

__all__ = ["Source"]


class Source(ABC):
    """One camera or file, opened, read and closed on one thread: closing it from another crashes the process."""

    #: True: the pictures come at their own pace, an old one may be dropped for a new one (a camera, or a file
    #: played as one). False: a file read as fast as it is taken; the consumer makes it wait.
    live: bool
    #: Whether its pictures are those of a camera now, so that a picture that stays, or a rate that falls, means
    #: something. A file shows what it shows.
    is_camera: bool = True
    _from_s: float = 0.0

    @abstractmethod
    def open(self) -> None:
        """Connect, or begin again at the start; what was open before is closed.

        :raises SourceError: there is nothing to read; the source is closed.
        """

    def expect(self, clock_s: float) -> None:
        """Say that pictures before that :meth:`clock_s` will not be retrieved, so nothing needs to be made of them."""
        self._from_s = clock_s

    @abstractmethod
    def grab(self) -> bool:
        """Decode the next picture, waiting for it where it has a time of its own; False at the end of a file.

        :raises StalledError: the stream stood still; open it again.
        :raises SourceError: it broke; likewise.
        """

    @abstractmethod
    def retrieve(self, into: Optional[Image] = None) -> Image:
        """The grabbed picture, once: *into*, filled, where the source can do that and its size fits; else a new array.

        :raises SourceError: the picture is not usable; open the source again.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the camera or file; harmless when closed."""

    def end(self) -> None:
        """Give back what lasts from one opening to the next; the source is not used again."""
        self.close()

    def clock_s(self) -> float:
        """The grabbed picture's time in seconds, for the spacing of frames: now, or its place in the clip."""
        return time.monotonic()

    def patience_s(self) -> float:
        """How long grab() may wait now until the camera counts as frozen, in seconds; it waits on for its picture."""
        return STALLED_S

    def cpu_s(self) -> float:
        """CPU time that decoding has taken so far, in seconds, for differences; the calling thread's."""
        return time.thread_time()

    def is_damaged(self) -> bool:
        """Whether the decoder complained about the picture grabbed last; always False where that can't be told."""
        return False
