"""OpenCV and GStreamer, and what they decode with; they are tried in a process of its own."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, Iterator, Sequence

from .finding import Area, Finding
from .hardware import is_jetson
from .machine import Machine, Ran, tail

__all__ = ["AREA", "check"]

AREA = Area("opencv")

_TRIAL_S = 10.0
_INSTALL = f"{sys.executable} -m pip install --force-reinstall opencv-python-headless"


def check(machine: Machine) -> Iterator[Finding]:
    """Whether it imports, its backends, and which codecs it was seen to decode."""
    ran = machine.run_python("-m", f"{__package__}.opencv_trial", timeout_s=_TRIAL_S)
    if not ran.ok:
        yield _broken(ran)
        return
    found: Dict[str, Any] = json.loads(ran.out.strip().splitlines()[-1])
    yield _version(found)
    yield _ffmpeg(found)
    yield from _decoders(found)
    yield from _gstreamer(found, is_jetson(machine))


def _version(found: Dict[str, Any]) -> Finding:
    says = f"{found['version']} at {found['file']}"
    if (4, 6) <= tuple(int(part) for part in found["version"].split(".")[:2]) < (4, 13):
        return AREA.note(
            "version",
            f"{says}: when a camera changes its resolution, its pictures are wrong until it is opened again",
            "restart sightd after such a change; 4.13 and newer follow it, and so does decoder: gstreamer",
        )
    return AREA.ok("version", says)


def _broken(ran: Ran) -> Finding:
    if ran.code is None:
        return AREA.problem("version", f"importing and trying it did not end within {_TRIAL_S:.0f} s", _INSTALL)
    if ran.code < 0:
        return AREA.problem("version", f"it crashes the interpreter (signal {-ran.code})", _INSTALL)
    if "No module named 'cv2'" in ran.errors:
        return AREA.problem("version", "not installed", _INSTALL.replace("--force-reinstall ", ""))
    if "numpy" in ran.errors.lower() or "_ARRAY_API" in ran.errors:
        return AREA.problem(
            "version", f"built for another NumPy: {tail(ran.errors)}", f'{sys.executable} -m pip install "numpy<2"'
        )
    return AREA.problem("version", f"can't be imported: {tail(ran.errors)}", _INSTALL)


def _ffmpeg(found: Dict[str, Any]) -> Finding:
    if found["ffmpeg"]:
        return AREA.ok("ffmpeg", "built in")
    return AREA.problem("ffmpeg", "this OpenCV was built without FFmpeg: cameras can't be read", _INSTALL)


def _gstreamer(found: Dict[str, Any], jetson: bool) -> Iterator[Finding]:
    """It is used through its own library: whether OpenCV has it does not matter."""
    if not found["gstreamer"]:
        install = "sudo apt install gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
        make = AREA.warning if jetson else AREA.note
        yield make("gstreamer", "not installed: FFmpeg decodes, on the CPU; no CSI cameras", install)
    else:
        yield AREA.ok("gstreamer", "its library loads")
        if jetson:
            yield _jetson_decoder(found["no_element"])


def _decoders(found: Dict[str, Any]) -> Iterator[Finding]:
    for codec, title in (("h264", "H.264"), ("hevc", "H.265")):
        if found[codec]:
            yield AREA.ok(title, "decodes (a clip was decoded with FFmpeg)")
        else:
            yield AREA.problem(title, "does not decode with FFmpeg: a camera that sends it shows nothing", _INSTALL)


def _jetson_decoder(missing: Sequence[str]) -> Finding:
    if not missing:
        return AREA.ok("nvv4l2decoder", "the Jetson's decoder is there (its plugin loads; no clip was decoded)")
    return AREA.warning(
        "nvv4l2decoder", f"GStreamer does not find {' and '.join(missing)}", "sudo apt install nvidia-l4t-gstreamer"
    )
