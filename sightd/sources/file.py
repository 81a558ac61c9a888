"""A video file or a folder of pictures, played at its own pace like a camera or read as fast as it is taken."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Optional, Set, Union

import cv2

from ..errors import SourceError
from ..types import Image
from .base import Source
from .folder import PictureFolder, is_folder
from .opencv import open_capture, picture

__all__ = ["PACES", "FileSource"]

PACES = ("live", "fast")

#: Later than this the schedule begins anew, as after a suspend: a camera doesn't show what was missed either.
LATE_S = 1.0

_USUAL_FPS = 25.0
#: What a picture may take besides the wait for its time: the disk may be a network's, a picture may be large.
_DISK_S = 30.0


class FileSource(Source):
    """The pictures of one file or folder; its place counts on through the loops.

    :param picture_fps: how many pictures of a folder make a second; 0: as of a usual video.
    """

    is_camera = False

    def __init__(self, path: str, *, pace: str, loop: bool, picture_fps: float = 0.0) -> None:
        self._path = path
        self._loop = loop
        self._picture_fps = picture_fps or _USUAL_FPS
        self.live = pace == "live"
        self._capture: Optional[Union[cv2.VideoCapture, PictureFolder]] = None
        self._broken: Set[str] = set()
        self._fps = _USUAL_FPS
        self._grabbed = 0  # since open()
        self._loop_began = 0  # the value of _grabbed at that moment
        self._started = 0.0  # when the picture 0 was due
        #: Where the next picture is, from then on; the file may be replaced by one of another rate while it loops.
        self._place_s = 0.0

    def open(self) -> None:
        self._reopen()
        self._grabbed, self._loop_began, self._place_s = 0, 0, 0.0
        self._started = time.monotonic()

    def grab(self) -> bool:
        pictures = self._wait_until_due() if self.live else 1
        return all(self._advance() for _ in range(pictures))

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return picture(self._reader(), into)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def patience_s(self) -> float:
        return _DISK_S + 1 / self._fps

    def clock_s(self) -> float:
        return self._place_s

    def _reader(self) -> Union[cv2.VideoCapture, PictureFolder]:
        if self._capture is None:
            raise SourceError(f"{self._path}: not open")
        return self._capture

    def _reopen(self) -> None:
        self.close()
        try:
            self._begin()
        except OSError as error:  # a folder on the way may not be entered, a disk is gone
            raise SourceError(f"{self._path}: can't be read ({error.strerror}): check the path, and who may") from error

    def _begin(self) -> None:
        if is_folder(self._path):
            self._capture = PictureFolder(self._path, self._broken)
            self._fps = self._picture_fps
            return
        if not Path(self._path).is_file():
            raise SourceError(f"{self._path}: no such file")
        self._capture = open_capture(self._path, "not a video that FFmpeg can read, or not readable by this user")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if 1 <= fps <= 240 else _USUAL_FPS

    def _wait_until_due(self) -> int:
        """Wait for the next picture's time and return 1, or more when late: all but the last are skipped."""
        early_s = self._started + self._place_s - time.monotonic()
        if early_s >= 0:
            time.sleep(early_s)
            return 1
        if early_s < -LATE_S:
            self._started -= early_s
            return 1
        return 1 + int(-early_s * self._fps)

    def _advance(self) -> bool:
        if self._reader().grab():
            self._grabbed += 1
            self._place_s += 1 / self._fps
            return True
        if self._grabbed == self._loop_began:
            raise SourceError(f"{self._path}: holds no picture that can be decoded")
        if not self._loop:
            return False
        # Seeking back to the start is not exact in every container; opening takes about a millisecond.
        self._reopen()
        self._loop_began = self._grabbed
        return self._advance()
