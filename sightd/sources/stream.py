"""A camera on the network, RTSP or HTTP, read by FFmpeg: what counts as lost, and from when on its pictures count."""

from __future__ import annotations

import time
from typing import Optional

import cv2
import numpy as np

from ..errors import SourceError, StalledError
from ..redact import redact
from ..types import Image
from .base import Source
from .live import LivePictures
from .network import FIRST_PICTURE_S, READ_TIMEOUT_S, check_reachable, settle
from .opencv import OPEN_TIMEOUT_MS, VERSION, open_capture, picture

__all__ = ["StreamSource"]

# OpenCV's codes of pictures that build on others: P and B. 4.5.4 and 4.6 can't say.
_BUILD_ON_OTHERS = (ord("P"), ord("B"))
_HEVC = (0x63766568, 0x31637668, 0x31766568)  # hevc, hvc1, hev1

#: Where its reference is missing, an old FFmpeg starts from mid-grey in all planes: 130 in BGR, give or take.
_MISSING, _TOLERANCE, _MISSING_SHARE = 130, 6, 0.25

#: These versions go on with the last picture when the stream grows, and with a part of it when it shrinks.
_LOSES_TRACK_OF_SIZE = (4, 6) <= VERSION < (4, 13)
_STUCK_S = 5.0


class StreamSource(Source):
    """An RTSP or HTTP stream, read by FFmpeg within OpenCV."""

    live = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._capture: Optional[cv2.VideoCapture] = None
        self._stuck = _Stuck()
        self._live = LivePictures()

    def open(self) -> None:
        self.close()
        check_reachable(self._url)
        self._live = LivePictures()
        started = time.monotonic()
        try:
            self._capture = open_capture(self._url, "there is no video: check the path, the user and the password")
        except SourceError as error:
            if time.monotonic() - started < OPEN_TIMEOUT_MS / 1000:
                raise
            waited = f"{OPEN_TIMEOUT_MS // 1000} s"
            raise StalledError(f"{redact(self._url)}: connected, but it does not answer within {waited}") from error
        if not settle(self._capture.grab, _KeyFrameSeen(self._capture)):
            self.close()
            raise StalledError(f"{redact(self._url)}: connected, but no picture came within {FIRST_PICTURE_S:.0f} s")

    def grab(self) -> bool:
        try:
            self._live.advance(self._advance)
        except StalledError as error:
            raise StalledError(f"{redact(self._url)}: {error}") from None
        return True

    def _advance(self) -> float:
        if self._capture is None:
            raise SourceError(f"{redact(self._url)}: not open")
        started = time.monotonic()
        grabbed = self._capture.grab()
        waited_s = time.monotonic() - started
        # Whatever it says: after its timeout OpenCV may return True with an old picture.
        if not grabbed and waited_s < READ_TIMEOUT_S:
            raise SourceError(f"{redact(self._url)}: lost the connection, or what comes can't be decoded")
        return waited_s

    def retrieve(self, into: Optional[Image] = None) -> Image:
        if self._capture is None:
            raise SourceError(f"{redact(self._url)}: not open")
        image = picture(self._capture, into)
        if _LOSES_TRACK_OF_SIZE and self._stuck(image, time.monotonic()):
            raise SourceError(
                f"{redact(self._url)}: the same picture for {_STUCK_S:.0f} s; opened anew, for this OpenCV "
                f"({cv2.__version__}) notices no change of resolution: 4.13 does, and so does decoder: gstreamer"
            )
        return image

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class _KeyFrameSeen:
    """Whether a key frame has come: of H.265 that is joined between two, OpenCV until 4.10 gives out grey pictures."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._seen = False
        self._is_hevc = int(capture.get(cv2.CAP_PROP_FOURCC)) in _HEVC

    def __call__(self) -> bool:
        self._seen = self._seen or self._shows_one()
        return self._seen

    def _shows_one(self) -> bool:
        if hasattr(cv2, "CAP_PROP_FRAME_TYPE"):
            return int(self._capture.get(cv2.CAP_PROP_FRAME_TYPE)) not in _BUILD_ON_OTHERS
        return not self._is_hevc or not _lacks_reference(picture(self._capture))


class _Stuck:
    """Notices one picture that stays, but the same only once: it may well be what the camera sees."""

    def __init__(self) -> None:
        self._seen, self._accepted, self._since_s = b"", b"", 0.0

    def __call__(self, image: Image, now_s: float) -> bool:
        seen = image[::37, ::41].tobytes()
        if seen != self._seen:
            self._seen, self._since_s = seen, now_s
        if seen == self._accepted or now_s - self._since_s < _STUCK_S:
            return False
        self._accepted = seen
        return True


def _lacks_reference(image: Image) -> bool:
    """Whether much of *image* is the flat grey that stands for a reference that never came."""
    off = np.abs(image[::4, ::4].astype(np.int16) - _MISSING).max(axis=2)
    return bool((off <= _TOLERANCE).mean() > _MISSING_SHARE)
