"""`sightd capture` as users run it, on clips that stand for cameras."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.request import Request
from sightd.calibration_entries import read_entries, read_image
from sightd.calibration_set import CalibrationSet
from sightd.masks import MASK_GREY
from sightd.types import Frame
from tests.parts.blobs import blob_picture
from tests.parts.daemon import command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips of 60 different pictures each, and a config that names them."""
    for index, name in enumerate(("yard", "gate")):
        writer = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (96, 96))
        for seed in range(60):
            writer.write(blob_picture(100 * index + seed))
        writer.release()
    return tmp_path


def run(folder: Path, cameras: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = folder / "sightd.yaml"
    config.write_text(f"calibration: {{folder: set, max_frames: 50}}\ncameras:\n{cameras}")
    return subprocess.run(
        command("capture", "--config", str(config), "--fps", "25", *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_camera_gives_its_share(folder: Path) -> None:
    done = run(folder, "  yard: {url: yard.avi}\n  gate: {url: gate.avi}\n", "--frames", "20", "--minutes", "0.5")
    assert done.returncode == 0, done.stderr
    entries = read_entries(folder / "set")
    assert sorted(entry.camera for entry in entries) == ["gate"] * 10 + ["yard"] * 10
    assert read_image(folder / "set", entries[0]).shape == (96, 96, 3)
    assert "holds 20 frames" in done.stdout
    assert "next: sightd convert MODEL" in done.stdout


def test_a_camera_that_is_away_does_not_keep_the_others_from_giving_theirs(folder: Path) -> None:
    done = run(folder, "  yard: {url: yard.avi}\n  gone: {url: gone.avi}\n", "--frames", "10", "--minutes", "0.05")
    assert done.returncode == 0, done.stderr
    assert [entry.camera for entry in read_entries(folder / "set")] == ["yard"] * 5
    assert "gone: no frame came" in done.stdout


def test_a_second_run_adds_to_the_set(folder: Path) -> None:
    for _ in range(2):
        run(folder, "  yard: {url: yard.avi}\n", "--frames", "5", "--minutes", "0.5")
    assert len(read_entries(folder / "set")) == 10


def test_two_at_a_time_are_refused(folder: Path) -> None:
    cameras = "  gone: {url: gone.avi}\n"
    config = folder / "first.yaml"
    config.write_text(f"calibration: {{folder: set}}\ncameras:\n{cameras}")
    first = subprocess.Popen(
        command("capture", "--config", str(config)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 20
        while not (folder / "set" / "index.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = run(folder, cameras)
        assert second.returncode == 1
        assert "another sightd writes to it" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        _, log = first.communicate(timeout=20)
    assert first.returncode == 0, log


def test_a_folder_that_can_not_be_written_is_an_error(folder: Path) -> None:
    (folder / "set").write_text("a file")
    done = run(folder, "  yard: {url: yard.avi}\n")
    assert done.returncode == 1
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr


def status(folder: Path, cameras: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run(folder, cameras, "--status", *options)


def put(folder: Path, camera: str, seed: int, at: float, *, light: float = 1.0, objects: int = -1) -> None:
    picture = (blob_picture(seed) * light).astype(np.uint8)
    with CalibrationSet(folder / "set", 2000, 1 << 30) as kept:
        assert kept.offer(Frame(camera, seed, at, 0.0, 0.0, picture), objects=objects) == "kept"


def test_status_of_a_set_that_is_not_there_yet(folder: Path) -> None:
    told = status(folder, "  yard: {url: yard.avi}\n")
    assert told.returncode == 0, told.stderr
    assert "yard: 0 frames" in told.stdout
    assert "missing  no frame at all" in told.stdout
    assert f"a conversion takes up to {Request.frames + Request.holdout} frames, here all 0: more would" in told.stdout
    assert not (folder / "set").exists()


def test_status_says_what_there_is_of_each_camera_and_what_is_missing(folder: Path) -> None:
    day = 86_400.0 * 20_000
    for hour in (23, 0, 1):
        put(folder, "yard", hour, day + hour * 3600, light=0.2, objects=0)
    for hour in range(24):
        put(folder, "gate", hour, day + hour * 3600, objects=hour % 5)
    put(folder, "sold", 1, day)
    told = status(folder, "  yard: {url: yard.avi}\n  gate: {url: gate.avi}\n  new: {url: gate.avi}\n").stdout
    parts = {part.split(":")[0]: part for part in told.split("\n\n")}
    assert "2024-10-04 00:00 to 2024-10-04 23:00 UTC" in parts["yard"]
    assert "hours    23-02 h UTC" in parts["yard"]
    assert "light    3 dark" in parts["yard"]
    assert "objects  3 empty" in parts["yard"]
    for lack in ("frames from 02-23 h UTC", "bright frames", "frames with objects in them"):
        assert f"missing  {lack}" in parts["yard"]
    assert "hours    all day" in parts["gate"]
    assert "missing" not in parts["gate"]
    assert "no frame at all" in parts["new"]
    assert "1 unknown" in parts["sold"]


def test_status_for_programs_and_while_another_writes(folder: Path) -> None:
    put(folder, "yard", 1, 5.0, objects=3)
    with CalibrationSet(folder / "set", 10, 1 << 30):
        told = status(folder, "  yard: {url: yard.avi}\n", "--json")
    held = json.loads(told.stdout)
    assert (held["frames"], held["taken"], held["cameras"]["yard"]["busyness"]) == (1, 1, {"busy": 1})
    assert held["bytes"] == sum(path.stat().st_size for path in (folder / "set" / "frames").iterdir())


def test_masks_are_applied_before_anything_is_stored(folder: Path) -> None:
    cameras = "  yard: {url: yard.avi, masks: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]}\n  gate: {url: gate.avi}\n"
    assert run(folder, cameras, "--frames", "6", "--minutes", "0.5").returncode == 0
    for entry in read_entries(folder / "set"):
        left = read_image(folder / "set", entry)[:, :48].astype(int)
        assert (np.abs(left - MASK_GREY).max() <= 1) == (entry.camera == "yard")
