"""The assets' clips: their frames as a calibration set, each clip a camera; and one to play where there are none."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

import cv2

from sightd.sources import source_for
from sightd.types import Image
from tests.shapes.scene import Scene
from tests.shapes.writing import write_clip

from .assets import asset, has_assets

__all__ = ["CLIPS", "playable", "write_frames"]

CLIPS = ("vtest.avi", "one-by-one-person-detection.mp4", "bikes.mp4", "bgs_video02.avi")


@contextmanager
def playable(clip: str) -> Iterator[Path]:
    """The assets' *clip*; where there are no assets, ten seconds of generated shapes in 1280 x 720."""
    if has_assets():
        yield asset(f"videos/{clip}")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield write_clip(Path(folder) / "shapes.mp4", Scene(0, 1280, 720), 250)


def write_frames(folder: Path, frames_a_clip: int) -> None:
    """At most *frames_a_clip* frames of each clip, evenly spaced, in a sub-folder each."""
    for clip in CLIPS:
        (folder / clip).mkdir(parents=True)
        source = source_for(str(asset(f"videos/{clip}")), pace="fast", loop=False)
        source.open()
        pictures: List[Image] = []
        while source.grab():
            pictures.append(source.retrieve())
        source.close()
        for index in range(0, len(pictures), -(-len(pictures) // frames_a_clip)):
            cv2.imwrite(str(folder / clip / f"{index:05}.jpg"), pictures[index])
