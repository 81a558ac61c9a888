"""What FFmpeg complains about while it decodes: counted in a process that decodes and nothing else, and not kept."""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress

from .opencv import let_ffmpeg_complain

__all__ = ["Complaints"]

#: From FFmpeg's decoders of H.264, H.265, MPEG-4 and JPEG. Not all that it calls an error is one of the picture: of
#: cameras that are well it says "unable to decode APP fields" at every picture.
_DAMAGE = re.compile(
    rb"error while decoding|concealing|corrupt|damaged|decode.error|error (?:dc|y=|count)|Error at MB|bad vlc|overread"
    rb"|decode_slice|no frame!|non-existing|block unavailable|find ref|[Mm]issing (?:ref|pic)|picture missing"
    rb"|Error constructing|[Ii]nvalid (?:level|NAL|nal|coef)|out of range|negative number|cabac|CABAC|no JPEG data"
)
_MOST = 1 << 16


class Complaints:
    """Takes standard output and error of the whole process, for good: FFmpeg has no better place for what it says.

    It holds addresses with passwords, so no text of it leaves the process.
    """

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(writing, False)  # what finds no room is lost; FFmpeg must not wait for it
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        self._flush = ctypes.CDLL(None).fflush
        let_ffmpeg_complain()

    def taken(self) -> int:
        """How many lines since the last call tell of damage."""
        self._flush(None)
        with suppress(BlockingIOError):
            return sum(1 for line in os.read(self._reading, _MOST).splitlines() if _DAMAGE.search(line))
        return 0
