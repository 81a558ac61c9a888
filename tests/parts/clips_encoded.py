"""The numbered clips of tests.parts.clips in other codecs and containers, by GStreamer."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.parts.clips import write_clip
from tests.parts.requires import require

__all__ = ["H264", "H265", "write_encoded"]

H264 = "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=10 ! h264parse"
H265 = (
    "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 option-string=pools=1:frame-threads=1 ! h265parse"
)
_MUXERS = {".mp4": "mp4mux", ".ts": "mpegtsmux", ".mkv": "matroskamux"}


def write_encoded(path: Path, encode: str, *, count: int = 30, fps: float = 25.0, width: int = 320) -> Path:
    """A clip at *path*, in the container of its suffix, whose picture i shows the number i; 4 : 3.

    Skips the test where GStreamer is missing.
    """
    require("gstreamer")
    plain = write_clip(path.with_suffix(".avi"), count=count, fps=fps, width=width, height=width * 3 // 4)
    decode = f"filesrc location={plain} ! avidemux ! jpegdec ! videoconvert ! video/x-raw,format=I420"
    pipeline = f"{decode} ! {encode} ! {_MUXERS[path.suffix]} ! filesink location={path}"
    subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], check=True, capture_output=True, timeout=60)
    plain.unlink()
    return path
