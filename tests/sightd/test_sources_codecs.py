"""Codecs and containers of files, what changes within one, and turned pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sightd.resize import resize_into
from sightd.sources import source_for, stream
from sightd.types import InputSpec
from tests.parts.clips import read_number, write_clip
from tests.parts.clips_encoded import H264, H265, write_encoded


@pytest.mark.parametrize(
    ("name", "encode"), [("a.mp4", H265), ("a.ts", H265), ("a.mkv", H264)], ids=["h265-mp4", "h265-ts", "h264-mkv"]
)
def test_every_picture_comes_once_and_in_order(tmp_path: Path, name: str, encode: str) -> None:
    source = source_for(str(write_encoded(tmp_path / name, encode)), pace="fast")
    source.open()
    numbers = []
    while source.grab():
        numbers.append(read_number(source.retrieve()))
    source.close()
    assert numbers == list(range(30))


def test_a_file_that_changes_its_size_and_rate_gives_every_picture_whole(tmp_path: Path) -> None:
    small = write_encoded(tmp_path / "small.ts", H264).read_bytes()
    large = write_encoded(tmp_path / "large.ts", H264, width=640, fps=10).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    source = source_for(str(tmp_path / "both.ts"), pace="fast")
    source.open()
    numbers, sizes = [], set()
    buffer = np.zeros((96, 96, 3), np.uint8)
    while source.grab():
        image = source.retrieve()
        numbers.append(read_number(image))
        sizes.add(image.shape[:2])
        placed = resize_into(buffer, image, InputSpec(width=96, height=96))
        assert placed.scale_x == pytest.approx(96 / image.shape[1]), "the letterbox follows the picture"
    source.close()
    assert len(numbers) == 60
    if not stream._LOSES_TRACK_OF_SIZE:
        assert numbers == 2 * list(range(30))
    # 4.5.4 follows; OpenCV from 4.13 on scales to the size that the file began with.
    assert sizes in ({(240, 320)}, {(240, 320), (480, 640)})


class TestRotation:
    CORNERS = ((20, 20), (20, -20), (-20, -20), (-20, 20))  # clockwise from the upper left

    @pytest.mark.parametrize(("degrees", "corner"), [(90, 1), (180, 2), (270, 3)])
    def test_turns_clockwise(self, tmp_path: Path, degrees: int, corner: int) -> None:
        picture = np.zeros((240, 320, 3), np.uint8)
        picture[:60, :60] = 255
        cv2.imwrite(str(tmp_path / "1.png"), picture)
        source = source_for(str(tmp_path), pace="fast", rotate=degrees)
        source.open()
        assert source.grab()
        turned = source.retrieve()
        source.close()
        assert turned.shape == ((240, 320, 3) if degrees == 180 else (320, 240, 3))
        assert [bool(turned[place].all()) for place in self.CORNERS] == [place == corner for place in range(4)]

    def test_of_none_adds_nothing(self, tmp_path: Path) -> None:
        clip = str(write_clip(tmp_path / "clip.avi", count=1))
        assert type(source_for(clip, rotate=0)) is type(source_for(clip))

    def test_keeps_pace_and_clock(self, tmp_path: Path) -> None:
        clip = str(write_clip(tmp_path / "clip.avi", count=3))
        source = source_for(clip, pace="fast", rotate=90)
        assert source.live is False
        source.open()
        clocks = [source.clock_s() for _ in range(3) if source.grab()]
        assert clocks == pytest.approx([0.04, 0.08, 0.12])
        source.close()
