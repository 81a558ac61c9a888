"""Cameras that are plugged into this machine: what stands in a v4l2:// or csi:// URL."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["CsiCamera", "V4l2Camera", "csi_camera", "is_device", "v4l2_camera"]

_COUNT = (r"[1-9]\d{0,4}", "a whole number of pixels")
_SIZE = {"width": _COUNT, "height": _COUNT, "fps": (r"[1-9]\d{0,2}(\.\d+)?", "a number of frames a second")}
_V4L2 = {**_SIZE, "format": (r"[A-Za-z0-9]{4}", "four letters as MJPG or YUYV")}
_CSI = {**_SIZE, "flip": (r"[0-7]", "nvvidconv's flip-method, 0 to 7"), "mode": (r"\d{1,2}", "a sensor mode's number")}


@dataclass(frozen=True)
class V4l2Camera:
    """A USB camera or another device of Video4Linux; None: as the driver has it."""

    #: Of its device file.
    path: str
    size: Optional[Tuple[int, int]] = None
    fps: Optional[float] = None
    #: FOURCC of what it is asked to send: "MJPG".
    format: Optional[str] = None


@dataclass(frozen=True)
class CsiCamera:
    """A camera on a Jetson's CSI connector; None: as the sensor's driver has it."""

    sensor: int
    size: Optional[Tuple[int, int]] = None
    fps: Optional[float] = None
    #: nvvidconv's flip-method: 0 none, 2 by 180 degrees, 4 left to right, 6 upside down ...
    flip: int = 0
    mode: Optional[int] = None


def is_device(url: str) -> bool:
    """Whether *url* is of one of these cameras; ``/dev/video0`` and ``/dev/v4l/by-id/...`` are too."""
    return re.match(r"v4l2:|csi:|/dev/(video\d|v4l/)", url) is not None


def v4l2_camera(url: str) -> V4l2Camera:
    """What ``v4l2:///dev/video0?width=1280&height=720&fps=30&format=MJPG`` names.

    :raises ValueError: what is wrong with it.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/dev/"):
        raise ValueError("a v4l2:// URL has three slashes and a device file: v4l2:///dev/video0")
    given = _options(parts.query, _V4L2)
    return V4l2Camera(path, _size(given), _fps(given), given["format"].upper() if "format" in given else None)


def csi_camera(url: str) -> CsiCamera:
    """What ``csi://0?width=1920&height=1080&fps=30&flip=2&mode=1`` names.

    :raises ValueError: what is wrong with it.
    """
    parts = urlsplit(url)
    if not re.fullmatch(r"\d{1,2}", parts.netloc) or parts.path not in ("", "/"):
        raise ValueError("a csi:// URL has the sensor's number: csi://0")
    given = _options(parts.query, _CSI)
    mode = int(given["mode"]) if "mode" in given else None
    return CsiCamera(int(parts.netloc), _size(given), _fps(given), int(given.get("flip", 0)), mode)


def _options(query: str, known: Mapping[str, Tuple[str, str]]) -> Dict[str, str]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in given.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(known)}"
            raise ValueError(f"has no option {name!r}; {hint}")
        pattern, what = known[name]
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{name} must be {what}")
    return given


def _size(given: Mapping[str, str]) -> Optional[Tuple[int, int]]:
    if ("width" in given) != ("height" in given):
        raise ValueError("width and height go together; give both or none")
    return (int(given["width"]), int(given["height"])) if "width" in given else None


def _fps(given: Mapping[str, str]) -> Optional[float]:
    return float(given["fps"]) if "fps" in given else None
