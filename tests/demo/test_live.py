"""The live part with a daemon that does what it should, and others."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path
from typing import Dict

import pytest
from rich.console import Console

from demo import live
from demo.broker import demo_broker
from demo.live import watch_live
from demo.watch import CameraFigures
from sightd.errors import SightdError

CONFIG = """
node: yard
mqtt: {{host: {host}, port: {port}}}
cameras: {{north: {{}}, south: {{}}}}
"""

pytestmark = pytest.mark.usefixtures("fake_sightd")


@pytest.fixture
def printed() -> io.StringIO:
    return io.StringIO()


def watch(folder: Path, printed: io.StringIO, seconds: float) -> Dict[str, CameraFigures]:
    config = folder / "sightd.yaml"
    with demo_broker() as broker:
        config.write_text(CONFIG.format(host=broker.host, port=broker.port), "utf-8")
        console = Console(file=printed, width=200)
        return watch_live(console, config, folder / "log", broker, "sightd/yard", seconds)


def test_prints_what_arrives_and_counts_all_of_it(tmp_path: Path, printed: io.StringIO) -> None:
    cameras = watch(tmp_path, printed, 1.5)
    assert sorted(cameras) == ["north", "south"]
    north = cameras["north"]
    assert len(north.arrived_at) >= 5
    assert north.labels == {"person": 2 * len(north.arrived_at)}
    assert cameras["south"].labels == {}
    assert 50 <= north.latency_ms(50) <= north.latency_ms(99) < 5000
    assert 1 < north.fps < 25
    lines = printed.getvalue().splitlines()
    assert lines[0] == f"$ sightd run --config {tmp_path}/sightd.yaml"
    assert "online" in lines[1]
    assert "stopped" in lines[-1]
    shown = [line for line in lines if "north" in line]
    assert 1 <= len(shown) <= 3
    assert "2 person 0.88" in shown[0]
    assert any("south" in line and "nothing" in line for line in lines)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("dies-at-once", r"did not come online(.|\n)*no engine in the bundle"),
        ("dies-later", r"ended by itself(.|\n)*the engine is gone"),
    ],
)
def test_a_daemon_that_ends_is_told_at_once_with_the_end_of_its_log(
    tmp_path: Path, printed: io.StringIO, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("FAULT", fault)
    started = time.monotonic()
    with pytest.raises(SightdError, match=message):
        watch(tmp_path, printed, 60)
    assert time.monotonic() - started < 30


def test_ctrl_c_ends_an_unbounded_watch_in_good_order(tmp_path: Path) -> None:
    class Impatient(io.StringIO):
        def write(self, text: str) -> int:
            if "north" in text and "north" not in self.getvalue():
                super().write(text)
                os.kill(os.getpid(), signal.SIGINT)
            return super().write(text)

    printed = Impatient()
    cameras = watch(tmp_path, printed, 0)
    assert cameras["north"].arrived_at
    assert printed.getvalue().splitlines()[-1] == "sightd/yard/available → stopped"


def test_a_daemon_that_goes_without_goodbye_is_a_failure(
    tmp_path: Path, printed: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "forgets-goodbye")
    monkeypatch.setattr(live, "_STOPPED_DEADLINE_S", 0.5)
    with pytest.raises(SightdError, match="did not say that it stopped"):
        watch(tmp_path, printed, 0.5)
