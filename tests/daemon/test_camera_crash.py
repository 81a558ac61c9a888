"""A clip that makes OpenCV abort, in the daemon: in a process of its own it costs that camera its pictures, no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.parts.bad_sources import write_crashing_clip
from tests.parts.broker import Broker, Collector, collect
from tests.parts.clips import write_clip
from tests.parts.daemon import running_daemon, write_quadrant_bundle


def config(broker: Broker, decoding: str) -> str:
    return (
        f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\ncameras:\n  yard: {{url: yard.avi}}\n"
        f"  bad: {{url: bad.avi, pace: fast, max_fps: 0, decoding: {decoding}}}\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_quadrant_bundle(tmp_path)
    write_clip(tmp_path / "yard.avi", count=50)
    write_crashing_clip(tmp_path / "bad.avi")
    return tmp_path


def count(seen: Collector) -> int:
    return sum(message.topic == "sightd/box/yard/detections" for message in seen.messages)


def crashes(seen: Collector) -> int:
    return sum((message.topic, message.payload) == ("sightd/box/bad/status", b"offline") for message in seen.messages)


def test_the_daemon_and_the_other_camera_go_on(broker: Broker, folder: Path) -> None:
    with collect(broker) as seen, running_daemon(folder, config(broker, "process")) as daemon:
        seen.wait_until(lambda c: count(c) >= 3, 30)
        if "crashed" not in daemon.log:
            seen.wait_until(lambda c: crashes(c) >= 2 or count(c) > 60, 60)
        if "crashed" not in daemon.log:
            pytest.skip("this OpenCV reads the clip")
        so_far = count(seen)
        seen.wait_until(lambda c: count(c) > so_far + 20, 30)
        assert daemon.log.count("camera yard is online") == 1
        assert "camera bad is offline: the decoder process crashed (SIG" in daemon.log
        assert daemon.stop() == 0


def test_read_in_the_daemon_itself_it_ends_it(broker: Broker, folder: Path) -> None:
    """What the process is for; where this passes no more, the clip shows nothing."""
    with running_daemon(folder, config(broker, "thread")) as daemon:
        try:
            assert daemon.process.wait(20) < 0
        except subprocess.TimeoutExpired:
            pytest.skip("this OpenCV reads the clip")
