"""What every source of pictures offers, whichever library reads it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from ..types import Image

__all__ = ["Source"]


class Source(ABC):
    """One camera or file, opened, read and closed on one thread: closing it from another crashes the process."""

    #: True: the pictures come at their own pace, an old one may be dropped for a new one (a camera, or a file
    #: played as one). False: a file read as fast as it is taken; the consumer makes it wait.
    live: bool

    @abstractmethod
    def open(self) -> None:
        """Connect, or begin again at the start; what was open before is closed.

        :raises SourceError: there is nothing to read; the source is closed.
        """

    @abstractmethod
    def grab(self) -> bool:
        """Decode the next picture, waiting for it where it has a time of its own; False at the end of a file.

        :raises SourceError: the stream broke or stood still; open it again.
        """

    @abstractmethod
    def retrieve(self) -> Image:
        """The grabbed picture as an array of its own.

        :raises SourceError: the picture is not usable; open the source again.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the camera or file; harmless when closed."""

    def clock_s(self) -> float:
        """The grabbed picture's time in seconds, for the spacing of frames: now, or its place in the clip."""
        return time.monotonic()
