"""Simulated cameras: four views cut out of one clip, as files that the config plays live."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

import cv2

from sightd.errors import SourceError

__all__ = ["CAMERAS", "simulate_cameras"]

#: Name of a camera -> the corner that it looks at, as (right, bottom).
_CORNERS = {
    "northwest": (False, False),
    "northeast": (True, False),
    "southwest": (False, True),
    "southeast": (True, True),
}
CAMERAS = tuple(_CORNERS)

#: A view's share of the picture's width and height: smaller ones miss much of what goes on; the whole picture of a
#: typical clip hardly changes from frame to frame, which leaves little to calibrate on.
_VIEW = 0.75
_MIN_S, _MAX_S = 4.0, 120.0

#: Rows and columns of the picture.
_View = Tuple[slice, slice]


def simulate_cameras(video: Path, folder: Path) -> Dict[str, Path]:
    """Write one clip a camera into *folder*: its view of *video*, of at most the first two minutes.

    :raises SourceError: *video* can't be opened or is too short, or this OpenCV can't write MPEG-4.
    """
    capture = cv2.VideoCapture(str(video))
    writers: List[cv2.VideoWriter] = []
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        if not capture.isOpened() or not fps > 0:
            raise SourceError(f"{video}: can't be opened as a video; give another one with --video FILE")
        folder.mkdir(parents=True, exist_ok=True)
        views = [_view(capture, right, bottom) for right, bottom in _CORNERS.values()]
        clips = {name: folder / f"{name}.mp4" for name in CAMERAS}
        writers += [_writer(clip, fps, view) for clip, view in zip(clips.values(), views)]
        if _cut(capture, views, writers, int(_MAX_S * fps)) < _MIN_S * fps:
            raise SourceError(f"{video}: shorter than {_MIN_S:g} s; give another one with --video FILE")
        return clips
    finally:
        capture.release()
        for writer in writers:
            writer.release()


def _cut(capture: cv2.VideoCapture, views: List[_View], writers: List[cv2.VideoWriter], limit: int) -> int:
    """How many frames there were, at most *limit*."""
    for count in range(limit):
        ok, image = capture.read()
        if not ok:
            return count
        for view, writer in zip(views, writers):
            writer.write(image[view])
    return limit


def _view(capture: cv2.VideoCapture, right: bool, bottom: bool) -> _View:
    rows = _part(int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), at_end=bottom)
    return rows, _part(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), at_end=right)


def _part(length: int, *, at_end: bool) -> slice:
    kept = int(length * _VIEW) // 2 * 2  # MPEG-4 has even sizes
    return slice(length - kept, length) if at_end else slice(0, kept)


def _writer(clip: Path, fps: float, view: _View) -> cv2.VideoWriter:
    height, width = (part.stop - part.start for part in view)
    # MPEG-4 and not Motion JPEG: a fifth of the size, and 0.5 instead of 1.3 ms a frame to decode.
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        raise SourceError(f"{clip}: this OpenCV can't write MPEG-4; install opencv-python-headless with pip")
    return writer
