"""Frames of the assets' clips as a calibration set: each clip stands for a camera."""

from __future__ import annotations

from pathlib import Path
from typing import List

import cv2

from sightd.sources import source_for
from sightd.types import Image

from .assets import asset

__all__ = ["CLIPS", "write_frames"]

CLIPS = ("vtest.avi", "one-by-one-person-detection.mp4", "bikes.mp4", "bgs_video02.avi")


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
