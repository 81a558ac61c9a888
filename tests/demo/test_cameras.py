"""Cutting one clip into the views of four cameras."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from demo.cameras import CAMERAS, simulate_cameras
from sightd.errors import SourceError
from tests.parts.clips import write_clip


def pictures(path: Path, fps: float) -> List[NDArray[np.uint8]]:
    """The frames of *path*, which must play at *fps*."""
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == fps
    found: List[NDArray[np.uint8]] = []
    while True:
        ok, image = capture.read()
        if not ok:
            capture.release()
            return found
        found.append(np.asarray(image, np.uint8))


def test_each_camera_looks_at_its_own_corner_of_every_frame(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.avi", count=110, fps=25, width=320, height=242)
    clips = simulate_cameras(video, tmp_path / "cameras")
    assert tuple(clips) == CAMERAS
    corners = {"northwest": (0, 0), "northeast": (80, 0), "southwest": (0, 62), "southeast": (80, 62)}
    original = pictures(video, 25)
    for name, (x, y) in corners.items():
        views = pictures(clips[name], 25)
        assert len(views) == 110
        for index in (0, 57, 109):
            difference = np.abs(views[index].astype(int) - original[index][y : y + 180, x : x + 240])
            assert difference.mean() < 5


def test_of_a_long_clip_two_minutes_are_taken(tmp_path: Path) -> None:
    clips = simulate_cameras(write_clip(tmp_path / "clip.avi", count=130, fps=1), tmp_path / "cameras")
    assert [len(pictures(clip, 1)) for clip in clips.values()] == [120] * 4


def test_too_short_a_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"shorter than 4 s.*--video FILE"):
        simulate_cameras(write_clip(tmp_path / "clip.avi", count=99, fps=25), tmp_path / "cameras")


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: Optional[bytes]) -> None:
    path = tmp_path / "clip.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"can't be opened as a video.*--video FILE"):
        simulate_cameras(path, tmp_path / "cameras")
