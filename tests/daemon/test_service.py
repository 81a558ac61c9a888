"""The daemon as a process, against a real broker, real clips and a real RTSP server."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import List

import cv2
import msgspec
import numpy as np
import pytest

from daemon.messages import ConfigMessage, DetectionsMessage, InfoMessage, StatsMessage
from sightd.bundle import open_bundle, write_bundle
from tests.parts.broker import Broker, Collector, collect
from tests.parts.clips import write_clip
from tests.parts.daemon import running_daemon, write_quadrant_bundle
from tests.parts.rtsp import RtspServer
from tests.parts.tensorrt_bundle import fake_tensorrt_in_processes, publish_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a bundle and two clips of 25 pictures a second."""
    write_quadrant_bundle(tmp_path)
    for name in ("yard", "gate"):
        write_clip(tmp_path / f"{name}.avi", count=50)
    return tmp_path


def config(broker: Broker, cameras: str) -> str:
    return f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\ncameras:\n{cameras}"


def detections(collector: Collector, camera: str) -> List[DetectionsMessage]:
    topic = f"sightd/box/{camera}/detections"
    return [
        msgspec.json.decode(message.payload, type=DetectionsMessage)
        for message in collector.messages
        if message.topic == topic
    ]


def inferred(collector: Collector, camera: str) -> int:
    """How many frames of it, as the newest stats have it; 0 before the first."""
    told = collector.newest.get("sightd/box/stats")
    return msgspec.json.decode(told, type=StatsMessage).cameras[camera].inferred if told else 0


def taken_a_second(messages: List[DetectionsMessage]) -> float:
    """Frames of a camera, those included that a busy machine did not get to."""
    first, last = messages[0], messages[-1]
    return (last.seq - first.seq) / (last.captured_at - first.captured_at)


def test_every_camera_is_detected_on_and_every_topic_speaks(broker: Broker, folder: Path) -> None:
    cameras = "  yard: {url: yard.avi}\n  gate: {url: gate.avi, max_fps: 5}\n  spare: {url: none.avi, enabled: false}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
        seen.wait_until(lambda c: min(len(detections(c, name)) for name in ("yard", "gate")) >= 8, 30)
        seen.wait_until(lambda c: inferred(c, "yard") > 0)
        assert daemon.stop() == 0
        newest = seen.newest
        seen.wait_for("sightd/box/available", b"stopped")
    assert newest["sightd/box/yard/status"] == b"online"
    assert newest["sightd/box/spare/status"] == b"disabled"
    info = msgspec.json.decode(newest["sightd/box/info"], type=InfoMessage)
    assert (info.cameras, info.labels) == (["yard", "gate", "spare"], ["tl", "tr", "bl", "br"])
    stats = msgspec.json.decode(newest["sightd/box/stats"], type=StatsMessage)
    assert stats.publisher.connected
    for message in detections(seen, "yard"):
        assert message.captured_at <= message.published_at
        assert (message.width, message.height) == (320, 240)
        assert message.latency_ms.total > 0
    sequence = [message.seq for message in detections(seen, "gate")]
    assert sequence == sorted(set(sequence))
    rates = {name: taken_a_second(detections(seen, name)) for name in ("yard", "gate")}
    assert rates["yard"] > 1.3 * rates["gate"]


def test_a_turned_camera_reports_what_the_turned_picture_shows_and_a_reload_turns_it_back(
    broker: Broker, folder: Path
) -> None:
    (folder / "pictures").mkdir()
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[20:100, 20:140] = 255  # upper left
    cv2.imwrite(str(folder / "pictures/1.png"), picture)
    turned = config(broker, "  yard: {url: pictures, rotate: 90, max_fps: 20}\n  gate: {url: gate.avi}\n")
    with collect(broker) as seen, running_daemon(folder, turned) as daemon:
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 3, 30)
        daemon.reload(turned.replace("rotate: 90", "rotate: 0"))
        seen.wait_until(lambda c: detections(c, "yard")[-1].width == 320, 15)
        assert daemon.stop() == 0
        assert daemon.log.count("camera yard is offline: about to be opened") == 2
        assert daemon.log.count("camera yard is online") == 2
        assert daemon.log.count("camera gate is online") == 1, "it was not touched"
    said = [
        (message.width, message.height, {one.label for one in message.objects}) for message in detections(seen, "yard")
    ]
    assert said[0] == (240, 320, {"tr"})
    assert said[-1] == (320, 240, {"tl"})


def test_nothing_is_left_in_the_home_folder(
    broker: Broker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime's telemetry would keep its database there, and send it."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with collect(broker) as seen, running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 3, 30)
        assert daemon.stop() == 0
    assert list((tmp_path / "home").rglob("*")) == []


def test_a_camera_reports_only_its_own_labels_and_scores(broker: Broker, folder: Path) -> None:
    cameras = "  yard: {url: yard.avi, labels: [br], min_score: 0.0}\n  gate: {url: gate.avi, min_score: 1.0}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)):
        seen.wait_until(lambda c: min(len(detections(c, name)) for name in ("yard", "gate")) >= 3, 30)
    assert {found.label for message in detections(seen, "yard") for found in message.objects} == {"br"}
    assert [found for message in detections(seen, "gate") for found in message.objects] == []


def test_a_fast_file_loses_no_frame_and_is_offline_at_its_end(broker: Broker, folder: Path) -> None:
    cameras = "  yard: {url: yard.avi, pace: fast, loop: false, max_fps: 0}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)):
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 50, 30)
        seen.wait_for("sightd/box/yard/status", b"offline")
    assert [message.seq for message in detections(seen, "yard")] == list(range(50))


def config_result(collector: Collector) -> ConfigMessage:
    return msgspec.json.decode(collector.newest["sightd/box/config"], type=ConfigMessage)


def test_sighup_adds_changes_and_removes_cameras_while_the_others_go_on(broker: Broker, folder: Path) -> None:
    cameras = "  yard: {url: yard.avi}\n  old: {url: gate.avi}\n  spare: {url: gate.avi, enabled: false}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
        seen.wait_until(lambda c: min(len(detections(c, name)) for name in ("yard", "old")) >= 3, 30)
        assert config_result(seen).result == "started"
        daemon.reload(
            config(broker, "  yard: {url: yard.avi}\n  spare: {url: gate.avi, labels: [tl]}\n  new: {url: yard.avi}\n")
        )
        seen.wait_for("sightd/box/old/status", b"")
        seen.wait_until(lambda c: min(len(detections(c, name)) for name in ("spare", "new")) >= 3)
        told, sofar = config_result(seen), len(detections(seen, "yard"))
        assert (told.result, told.added, told.removed, told.changed) == ("applied", ["new"], ["old"], ["spare"])
        info = msgspec.json.decode(seen.newest["sightd/box/info"], type=InfoMessage)
        assert info.cameras == ["yard", "spare", "new"]
        last = len(detections(seen, "old"))
        seen.wait_until(lambda c: len(detections(c, "yard")) >= sofar + 5)
        assert len(detections(seen, "old")) == last
        assert daemon.stop() == 0
    sequence = [message.seq for message in detections(seen, "yard")]
    assert sequence == sorted(set(sequence))
    assert daemon.log.count("camera yard is online") == 1  # it was not opened anew


def test_a_changed_camera_is_opened_anew_and_never_repeats_a_frame_id(broker: Broker, folder: Path) -> None:
    with collect(broker) as seen, running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 3, 30)
        daemon.reload(config(broker, "  yard: {url: gate.avi, max_fps: 20}\n"))
        seen.wait_until(lambda c: config_result(c).result == "applied")
        before = len(detections(seen, "yard"))
        seen.wait_until(lambda c: len(detections(c, "yard")) >= before + 5)
    ids = [message.frame_id for message in detections(seen, "yard")]
    assert len(ids) == len(set(ids))
    assert daemon.log.count("camera yard is online") == 2


def test_new_thresholds_hold_without_opening_anything_anew(broker: Broker, folder: Path) -> None:
    with collect(broker) as seen, running_daemon(
        folder, config(broker, "  yard: {url: yard.avi, min_score: 0.0}\n")
    ) as daemon:
        seen.wait_until(lambda c: any(message.objects for message in detections(c, "yard")), 30)
        daemon.reload(config(broker, "  yard: {url: yard.avi, min_score: 1.0, labels: [tl]}\n"))
        seen.wait_until(lambda c: config_result(c).changed == ["yard"])
        before = len(detections(seen, "yard"))
        seen.wait_until(lambda c: len(detections(c, "yard")) >= before + 10)
    assert not any(message.objects for message in detections(seen, "yard")[before + 3 :])
    assert daemon.log.count("camera yard is online") == 1


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("cameras: {yard: {url: yard.avi, max_fsp: 3}}", "did you mean 'max_fps'"),
        ("cameras: {yard: {url: yard.avi, labels: [cat]}}", "no label 'cat'"),
        ("cameras: [", "sightd.yaml"),
    ],
)
def test_mistakes_in_new_settings_leave_the_old_ones_in_force(
    broker: Broker, folder: Path, broken: str, complaint: str
) -> None:
    with collect(broker) as seen, running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 3, 30)
        daemon.reload(broken)
        seen.wait_until(lambda c: config_result(c).result == "refused")
        assert complaint in config_result(seen).error
        before = len(detections(seen, "yard"))
        seen.wait_until(lambda c: len(detections(c, "yard")) >= before + 3)
        assert daemon.stop() == 0
    assert daemon.log.count("camera yard is online") == 1


def test_sigterm_finishes_what_is_under_way_and_says_stopped_last(broker: Broker, folder: Path) -> None:
    with collect(broker) as seen, running_daemon(
        folder, config(broker, "  yard: {url: yard.avi, max_fps: 0}\n")
    ) as daemon:
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 3, 30)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 8
        seen.wait_for("sightd/box/available", b"stopped")
    assert seen.messages[-1].topic == "sightd/box/available"


def test_a_killed_daemon_is_offline_by_its_will(broker: Broker, folder: Path) -> None:
    with collect(broker) as seen, running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        seen.wait_for("sightd/box/available", b"online", 30)
        daemon.process.kill()
        seen.wait_for("sightd/box/available", b"offline")


def test_a_lost_camera_is_offline_and_back_in_time_while_the_others_go_on(broker: Broker, folder: Path) -> None:
    with RtspServer("clock:15") as lost, RtspServer("clock:15") as kept:
        cameras = f"  lost: {{url: '{lost.url()}'}}\n  kept: {{url: '{kept.url()}'}}\n"
        with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
            for name in ("lost", "kept"):
                seen.wait_for(f"sightd/box/{name}/status", b"online", 30)
            lost.kill()
            seen.wait_for("sightd/box/lost/status", b"offline", 3)
            before = len(detections(seen, "kept"))
            seen.wait_until(lambda c: len(detections(c, "kept")) >= before + 10)
            assert seen.newest["sightd/box/lost/status"] == b"offline"
            lost.start()
            seen.wait_for("sightd/box/lost/status", b"online", 5)
            assert daemon.log.count("camera kept is online") == 1


def test_a_broker_that_comes_later_is_found(broker: Broker, folder: Path) -> None:
    broker.kill()
    with running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        daemon.wait_for_log("can't be reached")
        broker.start()
        with collect(broker) as seen:
            seen.wait_for("sightd/box/available", b"online", 10)
            seen.wait_until(lambda c: len(detections(c, "yard")) >= 3)


@pytest.mark.parametrize(
    ("change", "complaint", "code"),
    [
        ("labels: [cat]", "no label 'cat'", 2),
        ("enabled: false", "every camera is disabled", 2),
        ("max_fsp: 3", "did you mean 'max_fps'", 2),
    ],
)
def test_settings_that_do_not_fit_end_it_before_anything_starts(
    broker: Broker, folder: Path, change: str, complaint: str, code: int
) -> None:
    with running_daemon(folder, config(broker, f"  yard: {{url: yard.avi, {change}}}\n")) as daemon:
        assert daemon.process.wait(30) == code
    assert complaint in daemon.log
    assert "Traceback" not in daemon.log


def test_an_altered_bundle_is_not_run(broker: Broker, folder: Path) -> None:
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text())
    with (folder / "bundle" / manifest["engine"]["file"]).open("ab") as engine:
        engine.write(b"x")
    with running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        assert daemon.process.wait(30) == 1
    assert "altered or damaged" in daemon.log


def info(collector: Collector) -> InfoMessage:
    return msgspec.json.decode(collector.newest["sightd/box/info"], type=InfoMessage)


@pytest.fixture
def upgraded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle's engine is of TensorRT 8.5; the daemon finds a (fake) 10.3."""
    shutil.rmtree(folder / "bundle")
    publish_plan(folder, "8.5.2.2")
    fake_tensorrt_in_processes(folder, monkeypatch, "10.3.0.26")
    return folder


def test_after_an_upgrade_the_fallback_detects_and_everybody_is_told_why(broker: Broker, upgraded: Path) -> None:
    cameras = "  yard: {url: yard.avi, min_score: 0.0}\n"
    with collect(broker) as seen, running_daemon(upgraded, config(broker, cameras)) as daemon:
        seen.wait_until(lambda c: len(detections(c, "yard")) >= 5, 30)
        told = info(seen)
        assert daemon.stop() == 0
    assert any(message.objects for message in detections(seen, "yard"))
    assert (told.engine.kind, told.engine.precision, told.labels) == ("onnxruntime", "fp32", ["tl", "tr", "bl", "br"])
    manifest = open_bundle(upgraded / "bundle").manifest
    assert manifest.fallback is not None
    assert told.engine.sha256 == manifest.fallback.sha256
    assert "built by TensorRT 8.5.2.2, this machine has 10.3.0.26" in told.fallback_reason
    assert told.fallback_reason.endswith(f"sightd convert --rebuild {upgraded / 'bundle'}")
    assert told.fallback_reason in daemon.log


def test_the_info_is_retained_and_keeps_its_reason_over_a_reload(broker: Broker, upgraded: Path) -> None:
    with running_daemon(upgraded, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        with collect(broker) as early:
            early.wait_until(lambda c: "sightd/box/info" in c.newest, 30)
        daemon.reload(config(broker, "  gate: {url: gate.avi}\n"))
        with collect(broker) as late:  # retained
            late.wait_until(lambda c: "sightd/box/info" in c.newest and info(c).cameras == ["gate"])
            assert info(late).fallback_reason == info(early).fallback_reason != ""


def test_a_tensorrt_engine_that_fits_detects_without_a_reason(
    broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_plan(folder, "10.3.0.26")
    fake_tensorrt_in_processes(folder, monkeypatch, "10.3.0.26")
    cameras = "  yard: {url: yard.avi, min_score: 0.0}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
        seen.wait_until(lambda c: any(message.objects for message in detections(c, "yard")), 30)
        assert (info(seen).engine.kind, info(seen).fallback_reason) == ("tensorrt", "")
        assert daemon.stop() == 0


def test_with_nothing_to_serve_instead_it_ends_with_the_mismatch(
    broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "bundle")
    publish_plan(folder, "8.5.2.2", fallback=False)
    fake_tensorrt_in_processes(folder, monkeypatch, "10.3.0.26")
    with running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        assert daemon.process.wait(30) == 1
    assert "sightd convert --rebuild" in daemon.log


def test_an_engine_that_does_not_load_ends_the_service_with_its_reason(broker: Broker, folder: Path) -> None:
    broken = folder / "broken.onnx"
    broken.write_bytes(b"no graph at all")
    manifest = open_bundle(folder / "bundle").manifest
    write_bundle(folder / "bundle", broken, manifest, {})
    with collect(broker) as seen, running_daemon(folder, config(broker, "  yard: {url: yard.avi}\n")) as daemon:
        assert daemon.process.wait(30) == 1
        seen.wait_for("sightd/box/available", b"offline")
    assert "convert the model again" in daemon.log


def test_the_cameras_password_appears_nowhere(broker: Broker, folder: Path) -> None:
    with RtspServer("clock:10", user="admin", password="canary-secret") as server:
        wrong = server.url().replace("canary-secret", "canary-wrong")
        cameras = f"  good: {{url: '{server.url()}'}}\n  bad: {{url: '{wrong}'}}\n"
        with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
            seen.wait_for("sightd/box/good/status", b"online", 30)
            daemon.wait_for_log("camera bad is offline", times=2)  # about to be opened, and refused
            daemon.stop()
    assert "canary" not in daemon.log
    assert not [message for message in seen.messages if b"canary" in message.payload]
