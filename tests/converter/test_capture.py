"""`sightd capture` as users run it, on clips that stand for cameras."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import cv2
import pytest

from sightd.calibration_entries import read_entries, read_image
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
    assert "holds 20 frames; next: sightd convert MODEL" in done.stdout


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
