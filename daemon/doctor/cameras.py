"""A camera, opened and read as the daemon would."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, Tuple

from sightd.errors import ConfigError, SourceError
from sightd.redact import redact
from sightd.settings import CameraSettings

from .finding import Area, Finding, parted

__all__ = ["AREA", "check"]

AREA = Area("cameras")

_FRAMES, _MEASURE_S = 20, 2.0
_OTHERWISE = "restart the camera, and look at its network"
_OTHERWISE_FILE = "put a video in its place, or correct its path"
#: Names that containers give to codecs.
_CODECS = {"avc1": "h264", "hvc1": "hevc", "hev1": "hevc", "mjpg": "mjpeg"}


def check(name: str, camera: CameraSettings, config: Path) -> Iterator[Finding]:
    """Whether the camera opens, what it sends, and how fast; takes up to 12 s."""
    if not camera.enabled:
        yield AREA.note(name, "disabled, not looked at")
        return
    try:
        url = camera.address()
        size, fps = _measure(url)
        codec = _codec(url)
    except ImportError as error:
        yield AREA.problem(name, f"not opened: {error}", "mend what is said above about opencv")
    except (ConfigError, SourceError) as error:
        says, fix = parted(redact(str(error)), _OTHERWISE if _is_stream(camera) else _OTHERWISE_FILE)
        yield AREA.problem(name, says, f"{fix}; it is cameras.{name} in {config}")
    else:
        yield AREA.ok(name, f"{codec}, {size[0]} x {size[1]} pixels, {_rate(fps, camera.max_fps)}")


def _is_stream(camera: CameraSettings) -> bool:
    return "://" in camera.url.get_secret_value()


def _rate(fps: float, max_fps: float) -> str:
    looked_at = f", of which {max_fps:g} are looked at" if max_fps and fps > max_fps * 1.2 else ""
    return f"{fps:.1f} fps{looked_at}"


def _measure(url: str) -> Tuple[Tuple[int, int], float]:
    """Width and height, and the frames a second of about 2 s.

    :raises SourceError: nothing can be read.
    """
    from sightd.sources import source_for  # OpenCV may be what is broken here

    source = source_for(url, loop=True)
    try:
        source.open()
        source.grab()
        height, width = source.retrieve().shape[:2]
        started, count = time.monotonic(), 0
        while count < _FRAMES and time.monotonic() - started < _MEASURE_S:
            source.grab()
            count += 1
        return (width, height), count / max(time.monotonic() - started, 1e-3)
    finally:
        source.close()


def _codec(url: str) -> str:
    """As FFmpeg calls it: h264, hevc, mjpeg ...; "unknown codec" of a camera that can't be opened again so soon."""
    import cv2

    from sightd.sources.opencv import open_capture

    try:
        capture = open_capture(url, "")
    except SourceError:
        return "unknown codec"
    try:
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
    finally:
        capture.release()
    name = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
    return _CODECS.get(name.lower(), name.lower()) if name.isprintable() and name else "unknown codec"
