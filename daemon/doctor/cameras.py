"""A camera, opened and read as the daemon would."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from sightd.bundle import open_bundle
from sightd.errors import BundleError, ConfigError, SourceError
from sightd.redact import redact
from sightd.settings import CameraSettings
from sightd.settings.camera_url import PIPELINE, takes_password
from sightd.settings.device_url import is_device, v4l2_camera

from .finding import Area, Finding, parted

__all__ = ["AREA", "check"]

AREA = Area("cameras")

_FRAMES, _MEASURE_S = 20, 2.0
_OTHERWISE = "restart the camera, and look at its network"
_OTHERWISE_FILE = "put a video in its place, or correct its path"
_OTHERWISE_DEVICE = "plug it in again, and look at: sudo dmesg"
_OTHERWISE_PIPELINE = "try it with gst-launch-1.0, ending in fakesink"
#: Pictures that are shrunk to less than this for the model were decoded for nothing.
_WASTEFUL_SCALE = 0.5
#: Names that containers give to codecs.
_CODECS = {"avc1": "h264", "hvc1": "hevc", "hev1": "hevc", "mjpg": "mjpeg"}


def check(name: str, camera: CameraSettings, config: Path, bundle: Path) -> Iterator[Finding]:
    """Whether the camera opens, what it sends, how fast, and whether the model needs so much; takes up to 12 s."""
    if not camera.enabled:
        yield AREA.note(name, "disabled, not looked at")
        return
    try:
        size, fps = _measure(camera)
        kind = _kind(camera)
    except ImportError as error:
        yield AREA.problem(name, f"not opened: {error}", "mend what is said above about opencv")
    except (ConfigError, SourceError) as error:
        holders = _holders(_device_file(camera.url.get_secret_value()))
        if holders:
            yield AREA.note(
                name, f"in use by {', '.join(holders)}, so not opened: a device serves one program at a time"
            )
            return
        says, fix = parted(redact(str(error)), _otherwise(camera.url.get_secret_value()))
        yield AREA.problem(name, says, f"{fix}; it is cameras.{name} in {config}")
    else:
        yield _described(name, f"{kind}, {size[0]} x {size[1]} pixels, {_rate(fps, camera.max_fps)}", size, bundle)


def _described(name: str, says: str, size: Tuple[int, int], bundle: Path) -> Finding:
    wanted = _input_size(bundle)
    if wanted is None or min(wanted[0] / size[0], wanted[1] / size[1]) >= _WASTEFUL_SCALE:
        return AREA.ok(name, says)
    return AREA.note(
        name,
        f"{says}: far more than the model's {wanted[0]} x {wanted[1]} shows, and decoding it costs",
        "where the camera has a sub-stream of a lower resolution, give its url (docs/cameras.md)",
    )


def _input_size(bundle: Path) -> Optional[Tuple[int, int]]:
    """Width and height of the model's input; None without a bundle, which is told elsewhere."""
    try:
        spec = open_bundle(bundle).manifest.input
    except BundleError:
        return None
    return spec.width, spec.height


def _otherwise(url: str) -> str:
    if takes_password(url):
        return _OTHERWISE
    if url.startswith(PIPELINE):
        return _OTHERWISE_PIPELINE
    return _OTHERWISE_DEVICE if is_device(url) else _OTHERWISE_FILE


def _device_file(url: str) -> Path:
    """Of a USB camera; of others /dev/null, which nobody needs to hold."""
    return Path(v4l2_camera(url).path if url.startswith("v4l2:") else url if is_device(url) else "/dev/null")


def _holders(device: Path) -> List[str]:
    """The other processes that have the character *device* open, as ps calls them; those that we may look into."""
    if not device.is_char_device() or device.samefile("/dev/null"):
        return []
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.name != str(os.getpid()) and any(map(device.samefile, (process / "fd").iterdir())):
                found.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
    return found


def _rate(fps: float, max_fps: float) -> str:
    looked_at = f", of which {max_fps:g} are looked at" if max_fps and fps > max_fps * 1.2 else ""
    return f"{fps:.1f} fps{looked_at}"


def _measure(camera: CameraSettings) -> Tuple[Tuple[int, int], float]:
    """Width and height, and the frames a second of about 2 s.

    :raises SourceError: nothing can be read.
    """
    from sightd.sources import ProcessSource, camera_source  # OpenCV may be what is broken here

    camera.address()  # a password that can't be read is no fault of the camera's
    source = ProcessSource("doctor", partial(camera_source, camera.model_copy(update={"loop": True, "pace": "live"})))
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
        source.end()


def _kind(camera: CameraSettings) -> str:
    """What comes: the codec, where FFmpeg knows it."""
    from sightd.sources.folder import is_folder

    url = camera.address()
    if url.startswith(PIPELINE):
        return "by GStreamer"
    if is_device(url):
        return "a device"
    return "pictures" if is_folder(url) else _codec(url)


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
