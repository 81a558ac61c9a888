"""The demo from its command line, with a fake sightd; and once all of it for real."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from demo.__main__ import main
from tests.parts.clips import write_clip

ROOT = Path(__file__).parents[2]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[List[str]]:
    """The demo's command line, ready to be run: nothing to be fetched, half a second of live detections."""
    clip = write_clip(tmp_path / "clip.avi", count=200)
    model = tmp_path / "model.onnx"
    model.touch()
    given = ["demo", "--seconds", "0.5", "--model", str(model), "--video", str(clip), "--workdir", str(tmp_path / "w")]
    monkeypatch.setattr(sys, "argv", given)
    before = signal.getsignal(signal.SIGTERM)
    yield given
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("fake_sightd", "arguments")
def test_shows_every_command_the_verdict_the_picture_and_each_camera(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 0
    printed = capsys.readouterr().out
    run = tmp_path / "w" / "last-run"
    for expected in (
        f"$ sightd capture --config {run}/sightd.yaml --frames 128",
        f"$ sightd convert {tmp_path}/model.onnx --calibration {run}/calibration --out {run}/bundle --labels coco80",
        "--frames 64 --holdout 64",
        f"$ sightd run --config {run}/sightd.yaml",
        "Verdict: int8: agrees with the float model",
        f"{run}/bundle/annotated.jpg",
    ):
        assert expected in printed
    table = printed[printed.index("What arrived over MQTT") :]
    for camera in ("northwest", "northeast", "southwest", "southeast"):
        assert camera in table


@pytest.mark.usefixtures("fake_sightd", "arguments")
@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        ("disagrees", 0, "INT8 is not proven to agree with the float model: the float engine serves instead"),
        ("capture-fails", 1, "`sightd capture` ended with exit status 1"),
        ("convert-fails", 1, "`sightd convert` ended with exit status 1"),
        ("run-fails", 1, "run: out of luck"),
        ("a-camera-is-silent", 1, "nothing arrived from southeast"),
    ],
)
def test_what_goes_wrong_is_told_and_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str, status: int, message: str
) -> None:
    monkeypatch.setenv("FAULT", fault)
    assert main() == status
    assert message in capsys.readouterr().out


@pytest.mark.usefixtures("fake_sightd")
def test_a_second_run_starts_afresh_but_keeps_the_downloads(tmp_path: Path, arguments: List[str]) -> None:
    kept, stale = tmp_path / "w" / "downloads" / "clip", tmp_path / "w" / "last-run" / "calibration" / "frame.jpg"
    for path in (kept, stale):
        path.parent.mkdir(parents=True)
        path.touch()
    assert main() == 0
    assert kept.exists()
    assert not stale.exists()


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_demo_for_real(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo", "--seconds", "10", "--workdir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Annotated picture" in done.stdout
    assert "Verdict: " in done.stdout
