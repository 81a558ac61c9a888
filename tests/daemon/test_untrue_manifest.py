"""A manifest that its engine does not keep to: the daemon, check-config and the doctor say so in a sentence."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from daemon.doctor import engine
from daemon.doctor.machine import Account, Machine
from sightd.settings import EngineSettings
from tests.parts.clips import write_clip
from tests.parts.daemon import command, running_daemon
from tests.parts.doctor import by_name
from tests.parts.tensorrt_bundle import publish_quadrants

CAMERA = "mqtt: {port: 1}\ncameras: {yard: {url: yard.avi}}\n"


def fewer_labels(manifest: Dict[str, Any]) -> None:
    manifest["labels"] = ["tl", "tr"]


def a_huge_batch(manifest: Dict[str, Any]) -> None:
    manifest["profile"]["max"] = 10**9


def huge_pictures(manifest: Dict[str, Any]) -> None:
    manifest["input"].update(width=10**5, height=10**5)


@pytest.fixture(
    params=[
        (fewer_labels, "the engine finds class 3, counted from 0, but its manifest has 2 labels"),
        (a_huge_batch, "batch sizes 1, 2, 1000000000: they must rise"),
        (huge_pictures, "a batch of 4 pictures of 100000 x 100000 pixels would take more than 1024 MiB"),
    ],
    ids=lambda param: param[0].__name__,
)
def complaint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What is to be said of the bundle in *tmp_path*."""
    lie: Callable[[Dict[str, Any]], None]
    lie, complaint = request.param
    path = publish_quadrants(tmp_path).folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    lie(manifest)
    path.write_text(json.dumps(manifest), "utf-8")
    return str(complaint)


def test_the_daemon_ends_with_a_sentence(tmp_path: Path, complaint: str) -> None:
    write_clip(tmp_path / "yard.avi", count=10)
    with running_daemon(tmp_path, CAMERA) as daemon:
        assert daemon.process.wait(60) == 1
    assert complaint in daemon.log
    assert "convert" in daemon.log
    assert "Traceback" not in daemon.log


def test_check_config_says_it(tmp_path: Path, complaint: str) -> None:
    (tmp_path / "sightd.yaml").write_text(f"bundle: bundle\n{CAMERA}")
    line = command("check-config", str(tmp_path / "sightd.yaml"))
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_says_it(tmp_path: Path, complaint: str) -> None:
    checks = engine.check(Machine(), tmp_path / "bundle", EngineSettings(), Account("sightd", 1, frozenset()))
    found = by_name(finding for finding in checks if finding.level == "problem")
    assert complaint in " ".join(finding.says for finding in found.values())
    assert all("convert" in finding.fix for finding in found.values())
