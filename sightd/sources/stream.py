"""A camera on the network, RTSP or HTTP: what counts as lost, and from when on its pictures count as live."""

from __future__ import annotations

import re
import socket
import time
from typing import Optional, Tuple
from urllib.parse import urlsplit

import cv2

from ..errors import SourceError
from ..redact import redact
from ..types import Image
from .base import Source
from .opencv import open_capture, picture

__all__ = ["StreamSource"]

CONNECT_TIMEOUT_S = 2.0
#: A camera shows nothing until its next key frame, which may take some seconds.
FIRST_PICTURE_S = 4.0
#: A picture that took longer to come is stale: after a stall, OpenCV may return True with an old one.
STALE_S = 1.5

# A picture that comes faster was waiting in a buffer; at 60 frames a second the wait is 16 ms.
_PILED_UP_S = 0.005
_SETTLE_ATTEMPTS = 150
_RTSP_PORTS = {"rtsp": 554, "rtsps": 322}


class StreamSource(Source):
    """An RTSP or HTTP stream, read by FFmpeg within OpenCV."""

    live = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._capture: Optional[cv2.VideoCapture] = None

    def open(self) -> None:
        self.close()
        _check_reachable(self._url)
        self._capture = open_capture(self._url, "there is no video: check the path, the user and the password")
        if not _settle(self._capture):
            self.close()
            raise SourceError(f"{redact(self._url)}: connected, but no picture came within {FIRST_PICTURE_S:.0f} s")

    def grab(self) -> bool:
        if self._capture is None:
            raise SourceError(f"{redact(self._url)}: not open")
        started = time.monotonic()
        grabbed = self._capture.grab()
        waited_s = time.monotonic() - started
        if waited_s > STALE_S:
            raise SourceError(f"{redact(self._url)}: stalled, no picture for {waited_s:.1f} s")
        if not grabbed:
            raise SourceError(f"{redact(self._url)}: lost the connection, or what comes can't be decoded")
        return True

    def retrieve(self) -> Image:
        if self._capture is None:
            raise SourceError(f"{redact(self._url)}: not open")
        return picture(self._capture)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _settle(capture: cv2.VideoCapture) -> bool:
    """Grab until a picture came that had to be waited for: the ones before piled up while opening (0.4 s at 25
    frames a second, 2 s at 5), and before the first key frame nothing can be decoded. False: no picture.
    """
    deadline = time.monotonic() + FIRST_PICTURE_S
    seen = False
    for _ in range(_SETTLE_ATTEMPTS):
        started = time.monotonic()
        if started > deadline:
            break
        grabbed = capture.grab()
        seen = seen or grabbed
        if grabbed and time.monotonic() - started > _PILED_UP_S:
            break
    return seen


def _check_reachable(url: str) -> None:
    """Connect once ahead of FFmpeg, which doesn't say why it failed, and in old versions blocks other cameras.

    RTSP only: an HTTP stream may be behind a proxy that FFmpeg knows and we don't.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in _RTSP_PORTS:
        return
    host, port = _host_and_port(url, _RTSP_PORTS[scheme])
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{redact(url)}: can't connect to {host}:{port} ({error}): check the address and that the camera is on"
        ) from error


def _host_and_port(url: str, default_port: int) -> Tuple[str, int]:
    # As FFmpeg reads it: a password may hold '@' and ':', not '/', '?' or '#'.
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{redact(url)}: the host or port is malformed: {error}") from error
    if not host:
        raise SourceError(f"{redact(url)}: names no host")
    return host, port or default_port
