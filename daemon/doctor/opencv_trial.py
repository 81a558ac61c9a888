"""Run as a process: imports OpenCV, decodes a few pictures with it and prints one JSON object."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Dict

__all__ = ["CLIPS", "try_opencv"]

#: Three pictures of 64 x 64, made with x264 and x265: as elementary streams, in base64.
CLIPS: Dict[str, str] = {
    "h264": "AAAAAWdkAAqsTCIhNCAAAAMAIAAAAwKB4kTCMAAAAAFo6EMDksiwAAAAAWWIggf//a9PgUtDRx4SETKpeFMzqmWBCLltNAOZGwAA"
    "AAFBmh2Id/8B1QAAAAFBmivwQZMphDf/Asc=",
    "hevc": "AAAAAUABDAH//wFgAAADAJAAAAMAAAMAHpaAkAAAAAFCAQEBYAAAAwCQAAADAAADAB6gIIEFllqSTK5oCAAAAwAIAAADAFBAAAAA"
    "AUQBwXK0IkAAAAEoAa8EGPweTf/uwg4rePiFgAAAAAECAdAJfhDGCDD9UgAAAAECAdAR/9RDBggQ/VI=",
}


def try_opencv() -> Dict[str, Any]:
    """version, file, ffmpeg (its version or ""); a bool for each of CLIPS: whether it decodes; then of GStreamer's
    library whether it loads (gstreamer), and which of a Jetson's elements it lacks (no_element).
    """
    import cv2

    from sightd.sources.gst_library import has_element
    from sightd.sources.pipelines import JETSON_ELEMENTS

    build = cv2.getBuildInformation()
    found: Dict[str, Any] = {"version": cv2.__version__, "file": cv2.__file__}
    found["ffmpeg"] = _backend(build, "FFMPEG")
    found["gstreamer"] = has_element("identity")
    found["no_element"] = [name for name in JETSON_ELEMENTS if not has_element(name)]
    with tempfile.TemporaryDirectory() as folder:
        for codec, content in CLIPS.items():
            path = Path(folder, f"clip.{codec}")
            path.write_bytes(base64.b64decode(content))
            ok, picture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
            # Dark on the left, bright on the right: more than "something came back".
            found[codec] = bool(
                ok and picture.shape == (64, 64, 3) and picture[:, 56].mean() > picture[:, 8].mean() + 99
            )
    return found


def _backend(build: str, name: str) -> str:
    match = re.search(rf"^\s*{name}:\s+YES(?: \(([^)]*)\))?", build, re.MULTILINE)
    return (match.group(1) or "yes") if match else ""


if __name__ == "__main__":
    print(json.dumps(try_opencv()))  # noqa: T201  (its parent reads it)
