"""A USB camera, or whatever else Video4Linux has a device file of, read by OpenCV."""

from __future__ import annotations

import logging
import os
import stat
import time
from pathlib import Path
from typing import Dict, Optional

import cv2

from ..errors import SourceError, StalledError
from ..settings.device_url import V4l2Camera
from ..types import Image
from .base import Source
from .network import STALE_S
from .opencv import open_device, picture

__all__ = ["V4l2Source"]

_log = logging.getLogger(__name__)


class V4l2Source(Source):
    """One device, asked for the size, rate and format that are wanted; what it gives instead is told in the log."""

    live = True

    def __init__(self, camera: V4l2Camera) -> None:
        self._camera = camera
        self._capture: Optional[cv2.VideoCapture] = None
        self._told: Dict[int, float] = {}

    def open(self) -> None:
        self.close()
        path = self._camera.path
        _check_device(path)
        self._capture = open_device(path, "is it in use by another program, or no camera but its second device file?")
        for number, wanted in _wanted(self._camera).items():
            self._capture.set(number, wanted)
            got = self._capture.get(number)
            if abs(got - wanted) > 0.01 * wanted and self._told.get(number) != got:  # not at every reconnection
                self._told[number] = got
                _log.warning("%s: wanted %s, the driver gives %s", path, _shown(number, wanted), _shown(number, got))
        if not self._capture.grab():
            self.close()
            raise SourceError(f"{path}: opened, but gives no picture: check its format, try format=MJPG")

    def grab(self) -> bool:
        if self._capture is None:
            raise SourceError(f"{self._camera.path}: not open")
        started = time.monotonic()
        grabbed = self._capture.grab()
        waited_s = time.monotonic() - started
        if not grabbed or waited_s > STALE_S:
            raise (StalledError if waited_s > STALE_S else SourceError)(
                f"{self._camera.path}: no picture for {waited_s:.1f} s: check the plug and the hub's power"
            )
        return True

    def retrieve(self, into: Optional[Image] = None) -> Image:
        if self._capture is None:
            raise SourceError(f"{self._camera.path}: not open")
        return picture(self._capture, into)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _check_device(path: str) -> None:
    """OpenCV doesn't say why it fails."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise SourceError(f"{path}: no such device: check the plug; there are {_present()}") from error
    if not stat.S_ISCHR(mode):
        raise SourceError(f"{path}: is no device")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(
            f"{path}: this user may not open it; sudo usermod -aG video USER, for the service: sightd install"
        )


def _present() -> str:
    return ", ".join(sorted(map(str, Path("/dev").glob("video[0-9]*")))) or "none (/dev/video*)"


def _wanted(camera: V4l2Camera) -> Dict[int, float]:
    """OpenCV's properties in the order in which drivers take them: a size may exist in one format only."""
    wanted: Dict[int, float] = {}
    if camera.format is not None:
        wanted[cv2.CAP_PROP_FOURCC] = float(cv2.VideoWriter.fourcc(*camera.format))
    if camera.size is not None:
        wanted[cv2.CAP_PROP_FRAME_WIDTH], wanted[cv2.CAP_PROP_FRAME_HEIGHT] = map(float, camera.size)
    if camera.fps is not None:
        wanted[cv2.CAP_PROP_FPS] = camera.fps
    return wanted


def _shown(number: int, value: float) -> str:
    if number == cv2.CAP_PROP_FOURCC:
        return int(value).to_bytes(4, "little", signed=False).decode("ascii", "replace") if value >= 0 else "unknown"
    name = {cv2.CAP_PROP_FRAME_WIDTH: "width", cv2.CAP_PROP_FRAME_HEIGHT: "height", cv2.CAP_PROP_FPS: "fps"}[number]
    return f"{name} {value:g}"
