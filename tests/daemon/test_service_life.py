"""What happens to a running service: memory that runs short, a wall clock that is set. In this process, to set them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Iterator, List

import msgspec
import pytest

from daemon.memory import MemoryGauge, Usage
from daemon.messages import DetectionsMessage, StatsMessage
from daemon.service import Service
from sightd.errors import SightdError
from sightd.serving import Serving
from sightd.settings import load_settings
from tests.parts.broker import Broker, Collector, collect
from tests.parts.clips import write_clip
from tests.parts.control_group import control_group, lower
from tests.parts.daemon import MANIFEST, command, running_daemon, write_quadrant_bundle
from tests.parts.patient_engine import PatientEngine


@contextmanager
def running(folder: Path, broker: Broker, cameras: str, failures: List[SightdError]) -> Iterator[Service]:
    path = folder / "sightd.yaml"
    path.write_text(
        f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\nbundle: b\n"
        f"outbox: {{folder: outbox}}\ncameras: {cameras}\n"
    )
    load = partial(load_settings, path)

    def serve() -> None:
        try:
            service.run()
        except SightdError as error:
            failures.append(error)

    service = Service(load(), {str(folder / "b"): MANIFEST}, lambda _: Serving(PatientEngine(), MANIFEST), load)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(30)


def stats(seen: Collector) -> StatsMessage:
    message: StatsMessage = msgspec.json.decode(seen.newest["sightd/box/stats"], type=StatsMessage)
    return message


def states(seen: Collector) -> List[str]:
    return [seen.newest.get(f"sightd/box/{name}/status", b"").decode() for name in ("door", "yard", "gate")]


def fresh_stats(seen: Collector) -> StatsMessage:
    """Those that are yet to come: older ones may tell of a time when the cameras were not there."""
    topic = "sightd/box/stats"
    before = len([message for message in seen.messages if message.topic == topic])
    seen.wait_until(lambda c: len([message for message in c.messages if message.topic == topic]) > before, 30)
    return stats(seen)


THREE = "{door: {url: c.avi}, yard: {url: c.avi}, gate: {url: c.avi}}"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of minutes."""
    monkeypatch.setattr("daemon.supervisor._MEMORY_S", 0.1)
    monkeypatch.setattr("daemon.shedding._SETTLE_S", 0.3)
    monkeypatch.setattr("daemon.shedding._CALM_S", 0.5)
    monkeypatch.setattr("daemon.shedding._PATIENCE_S", 1.0)


@pytest.mark.usefixtures("hurried")
def test_short_of_memory_it_serves_less_says_so_and_has_it_all_back_later(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = [Usage(500 << 20, 1000 << 20)]
    monkeypatch.setattr(MemoryGauge, "read", lambda self: usage[0])
    write_clip(tmp_path / "c.avi", count=25)
    failures: List[SightdError] = []
    with collect(broker) as seen, running(tmp_path, broker, THREE, failures):
        seen.wait_until(lambda c: states(c) == ["online"] * 3, 30)
        usage[0] = Usage(950 << 20, 1000 << 20)
        seen.wait_until(lambda c: states(c) == ["online", "disabled", "disabled"], 30)
        fresh_stats(seen)
        seen.wait_until(lambda c: stats(c).memory.given_up == ["camera gate", "camera yard"], 30)
        assert (stats(seen).memory.used_mb, stats(seen).memory.limit_mb) == (950, 1000)
        usage[0] = Usage(500 << 20, 1000 << 20)
        seen.wait_until(lambda c: states(c) == ["online"] * 3, 30)
        seen.wait_until(lambda c: stats(c).memory.given_up == [], 30)
    assert failures == []
    assert "memory: 950 of 1000 MiB used; given up: camera gate" in caplog.text
    assert "memory: 500 of 1000 MiB used; given up: nothing any more" in caplog.text


@pytest.mark.usefixtures("hurried")
def test_at_the_limit_with_nothing_left_to_give_up_it_ends_in_good_order(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(MemoryGauge, "read", lambda self: Usage(990 << 20, 1000 << 20))
    write_clip(tmp_path / "c.avi", count=25)
    failures: List[SightdError] = []
    with collect(broker) as seen, running(tmp_path, broker, "{door: {url: c.avi}}", failures):
        seen.wait_for("sightd/box/available", b"online", 30)
        deadline = time.monotonic() + 30
        while not failures and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "memory failed" in str(failures[0])
    assert "nothing left to give up" in caplog.text


@pytest.mark.slow
def test_in_a_real_control_group_it_gives_up_a_camera_before_the_kernel_does_anything(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_quadrant_bundle(tmp_path)
    write_clip(tmp_path / "c.avi", count=25)
    with collect(broker) as seen, control_group(1 << 30) as group:
        enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        monkeypatch.setattr("tests.parts.daemon.command", lambda *arguments: [*enter, *command(*arguments)])
        settings = f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\ncameras: {THREE}\n"
        with running_daemon(tmp_path, settings) as daemon:
            seen.wait_until(lambda c: states(c) == ["online"] * 3, 60)
            seen.wait_until(lambda c: "sightd/box/stats" in c.newest and stats(c).memory.limit_mb == 1024, 30)
            lower(group, lambda: int(fresh_stats(seen).memory.used_mb * (1 << 20) / 0.93))
            seen.wait_until(lambda c: states(c)[2] == "disabled", 30)
            seen.wait_until(lambda c: stats(c).memory.given_up[:1] == ["camera gate"], 30)
            assert states(seen)[0] == "online"
            assert daemon.stop() == 0
    assert "; given up: camera gate" in daemon.log


def test_a_clock_that_is_set_is_told_once_and_no_frame_comes_before_itself(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    write_clip(tmp_path / "c.avi", count=25)
    topic = "sightd/box/door/detections"
    with collect(broker) as seen, running(tmp_path, broker, "{door: {url: c.avi, max_fps: 0}}", []):
        for ahead_s in (0.0, 90_000_000.0, 3.0):
            ahead[0] = ahead_s
            before = len(seen.messages)
            seen.wait_until(lambda c, since=before: [m.topic for m in c.messages[since:]].count(topic) >= 10, 30)
        fresh_stats(seen)
        seen.wait_until(lambda c: stats(c).clock.jumps == 2, 30)
    assert stats(seen).clock.last_jump_s == pytest.approx(3 - 90_000_000, abs=1)
    assert caplog.text.count("the clock was set forward by 90000000.") == 1
    assert caplog.text.count("the clock was set back by 89999997.") == 1
    told = [msgspec.json.decode(m.payload, type=DetectionsMessage) for m in seen.messages if m.topic == topic]
    assert all(0 <= one.published_at - one.captured_at < 10 for one in told)
    jumps = [after.captured_at - before.captured_at for before, after in zip(told, told[1:])]
    assert max(jumps) > 80_000_000
    assert min(jumps) < -80_000_000
