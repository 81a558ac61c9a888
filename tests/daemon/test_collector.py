"""What the daemon keeps for the next conversion: by itself here, and as a process with real clips and SIGHUP below."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import cv2
import msgspec
import numpy as np
import pytest

from daemon import collector as module
from daemon.batches import Inferred
from daemon.collector import Collector
from daemon.messages import CalibrationStats, ConfigMessage, StatsMessage
from daemon.plan import Collection, Plan
from daemon.rules import Rule
from daemon.threads import StageThread
from sightd.calibration_entries import Entry, read_entries, read_image
from sightd.calibration_set import CalibrationSet
from sightd.errors import CalibrationError
from sightd.masks import MASK_GREY
from sightd.types import Batch, Candidates, Detections, Frame, Placement
from tests.parts.blobs import blob_picture
from tests.parts.broker import Broker, collect, running_broker
from tests.parts.broker import Collector as Listener
from tests.parts.daemon import command, running_daemon, write_quadrant_bundle

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def batch(camera: str, seed: int, seconds: float, objects: int = 0) -> tuple[Inferred, List[Detections]]:
    """One frame of *camera*, *seconds* after the first, with so many objects found in it."""
    frame = Frame(camera, seed, time.time(), 1000.0 + seconds, 0.0, blob_picture(seed))
    nothing = Candidates(np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int32))
    boxes, scores = np.zeros((objects, 4), np.float32), np.full(objects, 0.9, np.float32)
    found = Detections(boxes, scores, np.zeros(objects, np.int32))
    return Inferred("", Batch([frame], [Placement(1.0, 1.0, 0.0, 0.0, 96, 96)]), nothing, 0.0, 0.0, 0.0), [found]


def wait_until(holds: Callable[[], bool], deadline_s: float = 15.0) -> None:
    until = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.02)


class Running:
    """A collector on its own thread, with a plan that a test may replace."""

    def __init__(self, folder: Path, rules: dict[str, Rule], interval_s: float = 60.0) -> None:
        self.plan = Plan({}, rules, {}, collection=Collection(folder, 100, 1 << 30, 0.0, interval_s))
        self.collector = Collector(lambda: self.plan)

    def sees(self, camera: str, seed: int, seconds: float, objects: int = 0) -> None:
        self.collector.consider(*batch(camera, seed, seconds, objects))

    @property
    def stats(self) -> CalibrationStats:
        return self.collector.stats()

    def waits_for(self, state: str) -> None:
        wait_until(lambda: self.stats.state == state)


@contextmanager
def running(folder: Path, rules: Optional[dict[str, Rule]] = None, interval_s: float = 60.0) -> Iterator[Running]:
    made, stop = Running(folder, rules or {"yard": Rule(0.5), "gate": Rule(0.5)}, interval_s), threading.Event()
    thread = threading.Thread(target=made.collector.run, args=[stop])
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_one_frame_of_each_camera_is_considered_in_an_interval(tmp_path: Path) -> None:
    with running(tmp_path / "set", interval_s=60) as it:
        it.waits_for("on")
        for seed, seconds in enumerate((0, 1, 59.9, 60.5, 61)):
            it.sees("yard", seed, seconds)
            it.sees("gate", 10 + seed, seconds)
            wait_until(it.collector._waiting.empty)
        wait_until(lambda: it.stats == CalibrationStats("on", 4, 4, {}, 0))
    entries = read_entries(tmp_path / "set")
    assert sorted(entry.camera for entry in entries) == ["gate"] * 2 + ["yard"] * 2


def test_a_frame_is_kept_with_the_number_of_objects_that_its_camera_reports(tmp_path: Path) -> None:
    with running(tmp_path / "set", {"yard": Rule(0.5), "gate": Rule(0.95)}) as it:
        it.waits_for("on")
        it.sees("yard", 1, 0, objects=4)
        it.sees("gate", 2, 0, objects=4)
        wait_until(lambda: it.stats.kept == 2)
    assert {entry.camera: entry.objects for entry in read_entries(tmp_path / "set")} == {"yard": 4, "gate": 0}


def test_what_is_refused_is_counted_by_its_reason(tmp_path: Path) -> None:
    with running(tmp_path / "set", interval_s=1) as it:
        it.waits_for("on")
        for seconds in range(3):
            it.sees("yard", 1, seconds * 2)
        wait_until(lambda: it.stats.kept + sum(it.stats.refused.values()) == 3)
        assert it.stats.refused == {"frozen": 2}


def test_a_camera_that_is_gone_or_has_new_masks_by_the_time_of_writing_is_treated_so(tmp_path: Path) -> None:
    it = Running(tmp_path / "set", {"yard": Rule(0.5), "gate": Rule(0.5)})
    it.collector._follow_plan()
    it.sees("yard", 1, 0)
    it.sees("gate", 2, 0)
    it.plan = Plan({}, {"yard": Rule(0.5, masks=(LEFT_HALF,))}, {}, collection=it.plan.collection)
    it.collector._step()
    it.collector._step()
    it.collector._close()
    (entry,) = read_entries(tmp_path / "set")
    assert entry.camera == "yard"
    assert np.abs(read_image(tmp_path / "set", entry)[:, :48].astype(int) - MASK_GREY).max() <= 1


def test_what_was_captured_before_a_camera_changed_is_not_kept_for_its_masks_are_those_of_another_picture(
    tmp_path: Path,
) -> None:
    it = Running(tmp_path / "set", {"yard": Rule(0.5), "gate": Rule(0.5)})
    it.collector._follow_plan()
    now = time.monotonic() - 1000
    it.sees("yard", 1, now)
    it.collector.pass_over(["yard", "gate"])
    it.sees("gate", 2, now)
    it.collector._step()
    assert (it.stats.kept, it.stats.refused) == (0, {})
    it.sees("gate", 3, now + 2)
    it.collector._step()
    it.collector._close()
    assert [entry.camera for entry in read_entries(tmp_path / "set")] == ["gate"]


def test_a_full_queue_costs_frames_and_never_blocks(tmp_path: Path) -> None:
    names = [f"camera-{number}" for number in range(6)]
    it = Running(tmp_path / "set", {name: Rule(0.5) for name in names})
    it.collector._follow_plan()  # nobody takes what waits
    for name in names:
        it.sees(name, 1, 0)
    assert it.stats.skipped == 2
    it.sees(names[-1], 1, 0.5)
    assert it.stats.skipped == 2, "it is due again a second later"
    it.sees(names[-1], 1, 1.1)
    assert it.stats.skipped == 3
    it.collector._close()


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> List[Path]:
    """Grows with each opening of the set, which is tried again soon."""
    folders: List[Path] = []

    def opened(folder: Path, *bounds: Any) -> CalibrationSet:
        folders.append(folder)
        return CalibrationSet(folder, *bounds)

    monkeypatch.setattr(module, "CalibrationSet", opened)
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    return folders


def test_a_set_that_another_writes_to_is_waited_for(
    tmp_path: Path, tries: List[Path], caplog: pytest.LogCaptureFixture
) -> None:
    other = CalibrationSet(tmp_path / "set", 10, 1 << 30)
    with running(tmp_path / "set") as it:
        wait_until(lambda: len(tries) >= 4)
        assert it.stats.state == "blocked"
        other.close()
        it.waits_for("on")
    assert caplog.text.count("another sightd writes to it") == 1


def test_a_set_that_can_not_be_written_is_tried_again_and_said_once(
    tmp_path: Path, tries: List[Path], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "set").write_text("in the way")
    with caplog.at_level(logging.INFO), running(tmp_path / "set") as it:
        wait_until(lambda: len(tries) >= 4)
        assert it.stats.state == "blocked"
        assert caplog.text.count("no calibration frames are kept for now") == 1
        (tmp_path / "set").unlink()
        it.waits_for("on")
        it.sees("yard", 1, 0)
        wait_until(lambda: it.stats.kept == 1)
    assert "calibration frames are kept again" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_disk_is_waited_out_and_harms_nothing(
    tmp_path: Path, tries: List[Path], caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no mounts here")
    try:
        with running(disk / "set", interval_s=0.001) as it:
            it.waits_for("on")
            it.sees("yard", 1, 0)
            wait_until(lambda: it.stats.kept == 1)
            (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
            it.sees("yard", 2, 1)
            it.waits_for("blocked")
            (disk / "ballast").unlink()
            it.waits_for("on")
            it.sees("yard", 3, 2)
            wait_until(lambda: it.stats.kept == 2)
        for entry in read_entries(disk / "set"):
            read_image(disk / "set", entry)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert caplog.text.count("free some space") == 1


def test_frames_that_are_too_old_go_while_it_runs(tmp_path: Path) -> None:
    with running(tmp_path / "set") as it:
        it.waits_for("on")
        it.sees("yard", 1, 0)
        wait_until(lambda: it.stats.frames == 1)
        it.plan = Plan({}, it.plan.rules, {}, collection=Collection(tmp_path / "set", 100, 1 << 30, 0.5, 60.0))
        wait_until(lambda: it.stats.state == "on" and it.stats.frames == 0)
    with pytest.raises(CalibrationError, match="holds no frame"):
        read_entries(tmp_path / "set")


def test_switched_off_it_lets_others_write(tmp_path: Path) -> None:
    with running(tmp_path / "set") as it:
        it.waits_for("on")
        it.plan = Plan({}, it.plan.rules, {})
        it.waits_for("off")
        CalibrationSet(tmp_path / "set", 10, 1 << 30).close()
        it.sees("yard", 1, 0)
        assert it.stats == CalibrationStats("off", 0, 0, {}, 0)


def test_a_fault_in_it_ends_its_thread_and_nothing_else() -> None:
    def fault() -> Plan:
        raise ZeroDivisionError

    collector = Collector(fault)
    thread = StageThread("collector", partial(collector.run, threading.Event()), lambda name: collector.fail())
    thread.start()
    thread.join(10)
    assert collector.stats().state == "failed"


def test_a_folder_that_is_removed_under_it_is_made_anew(tmp_path: Path, tries: List[Path]) -> None:
    with running(tmp_path / "set", interval_s=1) as it:
        it.waits_for("on")
        shutil.rmtree(tmp_path / "set")
        it.sees("yard", 1, 0)
        wait_until(lambda: len(tries) == 2 and it.stats.state == "on")
        it.sees("yard", 2, 5)
        wait_until(lambda: it.stats.kept == 1)
    assert len(read_entries(tmp_path / "set")) == 1


class TestDaemon:
    """`sightd run` on clips, against a broker."""

    @pytest.fixture
    def broker(self, tmp_path: Path) -> Iterator[Broker]:
        (tmp_path / "broker").mkdir()
        with running_broker(tmp_path / "broker") as broker:
            yield broker

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A bundle and two clips of 60 different pictures."""
        write_quadrant_bundle(tmp_path)
        for index, name in enumerate(("yard", "gate")):
            writer = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 7.0, (96, 96))
            for seed in range(60):
                writer.write(blob_picture(100 * index + seed))
            writer.release()
        return tmp_path

    def test_keeps_frames_without_what_is_masked_and_says_so(self, broker: Broker, folder: Path) -> None:
        with collect(broker) as seen, running_daemon(folder, config(broker, "enabled: true", "")) as daemon:
            until(seen, lambda told: told.calibration.kept >= 4)
            assert calibration(seen).state == "on"
            daemon.reload(config(broker, "enabled: true", ", masks: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]"))
            seen.wait_until(lambda c: reloaded(c).result == "applied")
            told, before = reloaded(seen), calibration(seen).kept
            until(seen, lambda told: told.calibration.kept >= before + 5)
            assert daemon.stop() == 0
        assert (told.changed, told.restart_needed) == (["yard"], [])
        assert daemon.log.count("camera yard is online") == 1, "it is not opened anew for a mask"
        entries = read_entries(folder / "set")
        assert {entry.camera for entry in entries} == {"yard", "gate"}
        assert all(entry.objects >= 0 for entry in entries)
        after = [entry for entry in entries if entry.camera == "yard" and entry.captured_at > told.at + 0.2]
        assert after
        assert all(is_grey(folder / "set", entry) for entry in after)
        others = [entry for entry in entries if entry.camera == "gate" or entry.captured_at < told.at - 1]
        assert not any(is_grey(folder / "set", entry) for entry in others)

    def test_keeps_nothing_unless_told_to_and_can_be_told_while_it_runs(self, broker: Broker, folder: Path) -> None:
        with collect(broker) as seen, running_daemon(folder, config(broker, "", "")) as daemon:
            until(seen, lambda told: told.cameras["yard"].inferred > 20)
            assert calibration(seen) == CalibrationStats("off", 0, 0, {}, 0)
            assert not (folder / "set").exists()
            daemon.reload(config(broker, "enabled: true", ""))
            until(seen, lambda told: told.calibration.kept >= 2)
            assert daemon.stop() == 0

    def test_kill_9_leaves_a_good_set_that_the_next_one_goes_on_with(self, broker: Broker, folder: Path) -> None:
        frames = 0
        for _ in range(3):
            with collect(broker) as seen, running_daemon(folder, config(broker, "enabled: true", "")) as daemon:
                until(seen, lambda told: told.calibration.kept >= 2)
                daemon.process.kill()
                daemon.process.wait(10)
            entries = read_entries(folder / "set")
            for entry in entries:
                assert read_image(folder / "set", entry).shape == (96, 96, 3)
            assert len(entries) >= frames + 2
            frames = len(entries)

    def test_a_folder_that_can_not_be_written_does_not_touch_the_service(self, broker: Broker, folder: Path) -> None:
        (folder / "set").write_text("in the way")
        with collect(broker) as seen, running_daemon(folder, config(broker, "enabled: true", "")) as daemon:
            until(seen, lambda told: told.cameras["yard"].inferred > 20)
            assert calibration(seen).state == "blocked"
            assert daemon.stop() == 0
        assert daemon.log.count("no calibration frames are kept for now") == 1

    def test_a_capture_beside_it_is_told_whose_set_it_is(self, broker: Broker, folder: Path) -> None:
        with collect(broker) as seen, running_daemon(folder, config(broker, "enabled: true", "")):
            until(seen, lambda told: told.calibration.kept >= 1)
            line = command("capture", "--config", str(folder / "sightd.yaml"))
            refused = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
            told = subprocess.run([*line, "--status"], capture_output=True, text=True, check=False, timeout=60)
        assert refused.returncode == 1
        assert "the daemon, which keeps frames by itself while calibration.enabled is true" in refused.stderr
        assert told.returncode == 0
        assert "yard: " in told.stdout


def config(broker: Broker, calibration: str, yard: str) -> str:
    return (
        f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\n"
        f"calibration: {{folder: set, interval_s: 1{', ' if calibration else ''}{calibration}}}\n"
        f"cameras:\n  yard: {{url: yard.avi{yard}}}\n  gate: {{url: gate.avi}}\n"
    )


def stats(seen: Listener) -> StatsMessage:
    return msgspec.json.decode(seen.newest["sightd/box/stats"], type=StatsMessage)


def calibration(seen: Listener) -> CalibrationStats:
    return stats(seen).calibration


def until(seen: Listener, holds: Callable[[StatsMessage], bool]) -> None:
    seen.wait_until(lambda c: "sightd/box/stats" in c.newest and holds(stats(c)), 30)


def reloaded(seen: Listener) -> ConfigMessage:
    return msgspec.json.decode(seen.newest["sightd/box/config"], type=ConfigMessage)


def is_grey(folder: Path, entry: Entry) -> bool:
    return bool(np.abs(read_image(folder, entry)[:, :48].astype(int) - MASK_GREY).max() <= 1)
