"""Skips a test whose outside part is not installed, and says how to get it; in CI a missing part is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from typing import Callable, Dict

import pytest

__all__ = ["require"]

_RTSP_PROBE = "import gi; gi.require_version('GstRtspServer', '1.0')"


def require(part: str) -> None:
    """Skip the calling test unless *part* (a key of _PARTS) is here; with CI=true fail instead."""
    if _PARTS[part]():
        return
    reason = f"{part} is missing: run tests/parts/install.sh as root"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _has_mosquitto() -> bool:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return all(shutil.which(program, path=path) for program in ("mosquitto", "mosquitto_passwd"))


def _has_rtsp_server() -> bool:
    try:
        probe = subprocess.run(["/usr/bin/python3", "-c", _RTSP_PROBE], capture_output=True, check=False)
    except OSError:
        return False
    return probe.returncode == 0


def _has_gstreamer() -> bool:
    """With what the tests' clips and cameras are encoded and decoded with."""
    wanted = ("x264enc", "x265enc", "avdec_h264", "avdec_h265", "h265parse", "rtspsrc")
    return bool(shutil.which("gst-inspect-1.0")) and all(
        subprocess.run(["gst-inspect-1.0", "--exists", name], check=False).returncode == 0 for name in wanted
    )


_PARTS: Dict[str, Callable[[], bool]] = {
    "mosquitto": _has_mosquitto,
    "gst-rtsp-server": _has_rtsp_server,
    "gstreamer": lru_cache(maxsize=None)(_has_gstreamer),
    "g++": lambda: shutil.which("g++") is not None,
    "openssl": lambda: shutil.which("openssl") is not None,
}
