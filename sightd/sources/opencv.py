"""OpenCV's captures: opening and reading a capture, on every version from 4.5.4, without telling passwords."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import Any, List, Optional, Protocol, Tuple, cast

import cv2

from ..errors import SourceError
from ..redact import redact
from ..types import Image

__all__ = ["VERSION", "let_ffmpeg_complain", "open_capture", "open_device", "picture"]

#: (4, 8): major and minor.
VERSION = tuple(int(part) for part in cv2.__version__.split(".")[:2])

OPEN_TIMEOUT_MS = 3000
READ_TIMEOUT_MS = 2000

# RTSP over TCP; guess the frame rate from 2 frames: from 20, the default, opening waits 1 to 3 s. Also tried:
# `fflags;nobuffer` throws away the first key frame (pictures only from the second on, files lose their
# beginning), a short `analyzeduration` can't read a recording that begins between key frames.
_CAPTURE_OPTIONS = "rtsp_transport;tcp|fpsprobesize;2"
_LOG_QUIET, _LOG_ERROR = "-8", "16"  # AV_LOG_QUIET, AV_LOG_ERROR
_preparing = threading.Lock()


def open_capture(url: str, hint: str) -> cv2.VideoCapture:
    """An open capture of *url*; it must be used and released on the calling thread.

    :param hint: what to check when it can't be opened.
    :raises SourceError: it can't be opened within OPEN_TIMEOUT_MS.
    """
    with _preparing:
        _prepare()
    capture = cv2.VideoCapture()
    try:
        opened = capture.open(url, cv2.CAP_FFMPEG, _open_parameters())
    except cv2.error as error:
        # The original would carry the URL with its password into a traceback.
        raise SourceError(f"{redact(url)}: can't be opened: {redact(str(error))}") from None
    if not opened:
        raise SourceError(f"{redact(url)}: can't be opened: {hint}")
    return capture


def open_device(path: str, hint: str) -> cv2.VideoCapture:
    """As :func:`open_capture`, a device file of Video4Linux."""
    with _preparing:
        _prepare()
    capture = cv2.VideoCapture()
    try:
        opened = capture.open(path, cv2.CAP_V4L2)
    except cv2.error as error:
        raise SourceError(f"{path}: can't be opened: {error}") from None
    if not opened:
        raise SourceError(f"{path}: can't be opened: {hint}")
    return capture


class Reader(Protocol):
    """What :func:`picture` needs of a capture."""

    def retrieve(self, into: Optional[Image] = None, /) -> Tuple[bool, Any]: ...


def picture(capture: Reader, into: Optional[Image] = None) -> Image:
    """The picture that *capture* grabbed last: *into*, filled, where its size fits, else a new array.

    :raises SourceError: it could not be converted.
    """
    try:
        ok, image = capture.retrieve(into)
    except cv2.error as error:
        raise SourceError(f"a picture can't be converted: {redact(str(error))}") from None
    if not ok:
        raise SourceError("a picture can't be converted: the stream gives no size or an unknown pixel format")
    return cast(Image, image)


def _open_parameters() -> List[int]:
    parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    # OpenCV 4.5.4 (JetPack 5) has no such property and refuses to open with an unknown one; it decodes on all cores.
    if hasattr(cv2, "CAP_PROP_N_THREADS"):
        parameters += [cv2.CAP_PROP_N_THREADS, 1]
    return parameters


def let_ffmpeg_complain() -> None:
    """For a process whose output nobody sees: FFmpeg prints what it can't decode, and addresses with passwords."""
    _prepare()
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = _LOG_ERROR


@lru_cache(maxsize=None)
def _prepare() -> None:
    """Settings of the whole process, read by OpenCV when it opens its first capture."""
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _CAPTURE_OPTIONS)
    # Without it, one camera that takes the connection but never answers holds up the opening of all others.
    os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
    # Video4Linux waits for a picture 10 s by default; whole seconds.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(READ_TIMEOUT_MS // 1000))
    # FFmpeg and OpenCV print URLs with their passwords to stdout and stderr: what matters is in our errors.
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = _LOG_QUIET
    if hasattr(cv2, "setLogLevel"):  # until OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
