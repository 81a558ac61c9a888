"""The looks of a frame: numbers that don't depend on its size, and thresholds that hold on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import List

import cv2
import numpy as np
import pytest

from sightd.frame_filters import distances, look_at
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
