"""Frames of the wrong camera: named, filtered, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.calibration.cameras import camera_counts, of_cameras
from converter.calibration.frames import read_frames
from sightd.calibration_entries import read_entries
from sightd.errors import CalibrationError
from tests.parts.blobs import write_blob_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_blob_pictures(tmp_path / "set" / "yard", 12)
    write_blob_pictures(tmp_path / "set" / "kitchen", 9)
    return tmp_path / "set"


def test_the_cameras_of_a_set_are_told(folder: Path) -> None:
    assert camera_counts(read_entries(folder)) == "kitchen 9, yard 12"


def test_only_the_named_cameras_are_taken(folder: Path) -> None:
    frames = read_frames(folder, count=100, holdout=100, seed=0, cameras=["yard"])
    assert {entry.camera for entry in (*frames.calibration, *frames.holdout)} == {"yard"}
    assert len(of_cameras(read_entries(folder), [])) == 21


def test_a_camera_that_is_not_in_the_set_is_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(CalibrationError, match=r"'yrd' .*did you mean yard\?.*kitchen 9, yard 12"):
        of_cameras(read_entries(folder), ["kitchen", "yrd"])
