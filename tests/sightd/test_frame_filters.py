"""The looks of a frame: numbers that don't depend on its size, and thresholds that hold on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import cv2
import numpy as np
import pytest

from sightd.frame_filters import distances, is_corrupt, look_at
from sightd.types import Image


def gradient(width: int, height: int) -> Image:
    """Brighter to the right in its upper half, to the left in its lower half."""
    row = np.linspace(40, 220, width)
    rows = np.where(np.arange(height)[:, None] < height / 2, row, row[::-1])
    return np.repeat(rows[:, :, None], 3, axis=2).astype(np.uint8)


def test_the_hash_says_where_it_gets_brighter() -> None:
    assert look_at(gradient(640, 480)).dhash == "ff" * 4 + "00" * 4


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 360), (160, 90)])
def test_the_looks_do_not_depend_on_the_size(width: int, height: int) -> None:
    look, reference = look_at(gradient(width, height)), look_at(gradient(320, 180))
    assert look.dhash == reference.dhash
    assert look.luma == pytest.approx(reference.luma, abs=1)
    assert look.spread == pytest.approx(reference.spread, abs=2)
    assert len(bytes.fromhex(look.thumbnail)) == 64


@pytest.mark.parametrize("shape", [(2, 2, 3), (2000, 2, 3), (2, 2000, 3)])
def test_odd_shapes_have_looks_too(shape: List[int]) -> None:
    assert look_at(np.full(shape, 90, np.uint8)).is_black


def test_distances_count_differing_bits() -> None:
    hashes = ["00" * 8, "ff" * 8, "0f" + "00" * 7, "01" + "00" * 7]
    assert distances(hashes, hashes[:2]).tolist() == [[0, 64], [64, 0], [4, 60], [1, 63]]


def test_real_pictures_pass_and_blurred_ones_do_not(assets: Path) -> None:
    paths = sorted((assets / "images").rglob("*.jpg"))
    pictures = [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths]
    assert len(pictures) > 50
    looks = [look_at(picture) for picture in pictures]
    assert not any(look.is_black or look.is_blurred for look in looks)
    night = [look_at(picture // 8) for picture in pictures]
    assert sum(look.is_black or look.is_blurred for look in night) <= 0.02 * len(night)
    blurred = [np.asarray(cv2.GaussianBlur(p, (0, 0), 0.01 * p.shape[1]), np.uint8) for p in pictures]
    assert sum(look_at(picture).is_blurred for picture in blurred) > 0.95 * len(blurred)


def intact_and_damaged(clip: Path, folder: Path, flips: int) -> Tuple[List[Image], List[Image]]:
    """Pictures of *clip*, and those that are clearly not as they were after so many flipped bytes."""
    generator, data = np.random.default_rng(0), bytearray(clip.read_bytes())
    for place in generator.integers(len(data) // 20, len(data) * 8 // 10, flips):
        data[place] ^= 0xFF
    broken = folder / f"broken{clip.suffix}"
    broken.write_bytes(data)
    intact = pictures(clip)
    hurt = [
        got
        for wanted, got in zip(intact, pictures(broken))
        if (np.abs(wanted.astype(int) - got).mean(axis=2) > 25).mean() > 0.3
    ]
    return intact, hurt


def pictures(clip: Path) -> List[Image]:
    capture, read = cv2.VideoCapture(str(clip)), []
    while len(read) < 120:
        delivered, image = capture.read()
        if not delivered:
            break
        read.append(np.asarray(image, np.uint8))
    capture.release()
    return read


def test_key_frames_that_were_lost_in_part_are_corrupt_and_intact_ones_are_not(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (320, 240))
    generator = np.random.default_rng(3)
    noise = cv2.GaussianBlur(generator.normal(128, 90, (240, 400, 3)), (0, 0), 2) * 2 - 128
    for step in range(48):
        writer.write(np.clip(noise[:, step : step + 320], 0, 255).astype(np.uint8))
    writer.release()
    intact, hurt = intact_and_damaged(clip, tmp_path, 60)
    assert len(intact) == 48
    assert not any(is_corrupt(picture) for picture in intact)
    assert sum(is_corrupt(picture) for picture in hurt) >= 2


def test_real_clips_with_flipped_bytes(assets: Path, tmp_path: Path) -> None:
    caught = 0
    for name in ("bikes.mp4", "bgs_video02.avi"):
        intact, hurt = intact_and_damaged(assets / "videos" / name, tmp_path, 60)
        assert not any(is_corrupt(picture) for picture in intact)
        caught += sum(is_corrupt(picture) for picture in hurt)
    assert caught >= 3


def test_a_picture_that_the_decoder_got_nothing_for_is_corrupt() -> None:
    picture = gradient(640, 480)
    picture[-60:] = 128
    assert is_corrupt(picture)
    picture[-60:] = 0  # a camera's own black bar
    assert not is_corrupt(picture)


@pytest.mark.parametrize("shape", [(2, 2, 3), (2000, 2, 3), (2, 2000, 3)])
def test_odd_shapes_can_be_judged_too(shape: List[int]) -> None:
    assert not is_corrupt(np.full(shape, 90, np.uint8))


def test_intact_pictures_are_never_corrupt_not_even_dark_and_coarse(assets: Path) -> None:
    for path in sorted((assets / "images").rglob("*.jpg")):
        picture = np.asarray(cv2.imread(str(path)), np.uint8)
        coarse = cv2.imdecode(cv2.imencode(".jpg", picture // 8, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1)
        assert not is_corrupt(picture)
        assert not is_corrupt(np.asarray(coarse, np.uint8)), path.name
