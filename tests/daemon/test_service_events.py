"""The daemon as a process with a real detector on clips whose truth is known: what comes and goes, as events."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Dict, List, Set, Tuple

import msgspec
import numpy as np
import pytest

from converter.agreement.match import iou_matrix
from daemon.messages import DetectionsMessage, EventMessage, StatsMessage
from tests.parts.broker import Broker, Collector, collect
from tests.parts.daemon import running_daemon
from tests.shapes.bundle import write_shapes_bundle
from tests.shapes.drawing import LABELS
from tests.shapes.published import published
from tests.shapes.scene import FPS, Scene, ShapeTruth
from tests.shapes.writing import read_truth, write_clip

FRAMES = 150
#: Scenes in which objects come and go, few of them one behind the other, and which the detector has no trouble with.
SEEDS = {"yard": 113, "gate": 119}
#: An object that is clear to see in so many frames has to become an event.
CLEAR_FRAMES = 40
CONFIG = "node: box\nmqtt: {{port: {port}}}\nstats_interval_s: 1\nevents: {{lost_after_s: 1}}\ncameras:\n{cameras}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the clips and a bundle of the float detector."""
    folder = tmp_path_factory.mktemp("made")
    write_shapes_bundle(folder)
    for name, seed in SEEDS.items():
        write_clip(folder / f"{name}.avi", Scene(seed), FRAMES)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The same, of the test's own."""
    return Path(shutil.copytree(made, tmp_path / "folder"))


def config(broker: Broker, loop: bool) -> str:
    files = "".join(f"  {name}: {{url: {name}.avi, loop: {str(loop).lower()}, max_fps: 0}}\n" for name in SEEDS)
    return CONFIG.format(port=broker.port, cameras=files)


def events(seen: Collector, camera: str = "+") -> List[EventMessage]:
    """In the order of their arrival, each once; of one camera, or of all."""
    topics = {f"sightd/box/{name}/events" for name in SEEDS if camera in ("+", name)}
    told = [
        msgspec.json.decode(message.payload, type=EventMessage) for message in seen.messages if message.topic in topics
    ]
    return list({(event.boot_id, event.seq): event for event in told}.values())


def test_each_object_that_comes_and_goes_has_one_new_and_one_end(broker: Broker, folder: Path) -> None:
    with collect(broker, "sightd/box/#") as seen, running_daemon(folder, config(broker, loop=False)) as daemon:
        seen.wait_until(lambda c: all(said(c, name)[-2:] == [b"online", b"offline"] for name in SEEDS), 60)
        seen.wait_until(lambda c: len(open_events(c)) == 0 and set(numbers(c).values()) == {b"0"}, 20)  # all are silent
        assert daemon.stop() == 0
    assert sorted(event.seq for event in events(seen)) == list(range(1, len(events(seen)) + 1))
    assert {message.qos for message in seen.messages if message.topic.endswith("/events")} == {1}
    assert any(message.payload == b"2" for message in seen.messages if "/objects/" in message.topic)
    assert len(numbers(seen)) == len(SEEDS) * len(LABELS)
    for name in SEEDS:
        order = [event.seq for event in events(seen, name)]
        assert order == sorted(order)
        assert_lives(events(seen, name))
        tracks = tracks_of_objects(published(seen, name), read_truth(folder / f"{name}.avi"))
        told = {event.after.track_id: event.after for event in events(seen, name) if event.type == "end"}
        assert len(tracks) >= 3
        for (object_id, class_id), own in tracks.items():
            ((track, end),) = [(track, told[track]) for track in own if track in told]
            assert end.label == LABELS[class_id], (name, object_id, track)


def test_a_stop_ends_what_is_there_and_a_kill_can_be_told_by_the_boot_id(broker: Broker, folder: Path) -> None:
    with collect(broker, "sightd/box/#") as seen:
        with running_daemon(folder, config(broker, loop=True)) as daemon:
            seen.wait_until(lambda c: len(open_events(c)) >= 3, 60)
            daemon.process.kill()
            daemon.process.wait(10)
        seen.wait_for("sightd/box/available", b"offline")  # the will: what came before has arrived
        killed = open_events(seen)
        with running_daemon(folder, config(broker, loop=True)) as daemon:
            seen.wait_until(lambda c: len(open_events(c) - killed) >= 3, 60)
            boots = list({event.boot_id: None for event in events(seen)})
            seen.wait_until(lambda c: boot_id_of_stats(c) == boots[-1])
            assert daemon.stop() == 0
        seen.wait_for("sightd/box/available", b"stopped")
        seen.wait_until(lambda c: set(numbers(c).values()) == {b"0"})
    left = open_events(seen)
    assert killed <= left, "nobody could end them, and what was stored of the rest has come since"
    assert list({event.boot_id: None for event in events(seen)}) == boots
    assert len(boots) == 2
    assert all(f"-{boots[0]}-" in identity for identity in left)


def test_a_camera_that_is_taken_out_and_events_that_are_disabled_end_what_is_there(
    broker: Broker, folder: Path
) -> None:
    both = config(broker, loop=True)
    with collect(broker, "sightd/box/#") as seen, running_daemon(folder, both) as daemon:
        seen.wait_until(lambda c: all(any(e.type == "new" for e in events(c, name)) for name in SEEDS), 60)
        daemon.reload(both.replace("  yard:", "  shed:"))
        seen.wait_until(lambda c: len(open_events(c, "yard")) == 0, 15)
        daemon.reload(both.replace("lost_after_s: 1", "enabled: false"))
        seen.wait_until(lambda c: len(open_events(c)) == 0, 15)
        last = len(published(seen, "gate"))
        seen.wait_until(lambda c: len(published(c, "gate")) > last + 50, 15)
        assert len(open_events(seen)) == 0
        assert daemon.stop() == 0


def said(seen: Collector, camera: str) -> List[bytes]:
    """The words of its status."""
    return [message.payload for message in seen.messages if message.topic == f"sightd/box/{camera}/status"]


def boot_id_of_stats(seen: Collector) -> str:
    """Of the newest; "" before the first."""
    told = seen.newest.get("sightd/box/stats")
    return msgspec.json.decode(told, type=StatsMessage).boot_id if told else ""


def numbers(seen: Collector) -> Dict[str, bytes]:
    """How many objects there are, by topic."""
    return {topic: payload for topic, payload in seen.newest.items() if "/objects/" in topic}


def open_events(seen: Collector, camera: str = "+") -> Set[str]:
    """Ids of those that have begun and not ended."""
    begun = {event.after.id for event in events(seen, camera) if event.type == "new"}
    return begun - {event.after.id for event in events(seen, camera) if event.type == "end"}


def assert_lives(told: List[EventMessage]) -> None:
    """Each is a new, updates, an end, and each says of before what the last one said of after."""
    by_id: Dict[str, List[EventMessage]] = {}
    for event in told:
        by_id.setdefault(event.after.id, []).append(event)
    for life in by_id.values():
        assert [event.type for event in life] == ["new", *["update"] * (len(life) - 2), "end"]
        assert [event.before for event in life[1:]] == [event.after for event in life[:-1]]
        assert len({event.after.start_time for event in life}) == 1
        times = [event.after.frame_time for event in life]
        assert times == sorted(times)
        assert life[-1].after.end_time == life[-1].after.frame_time > life[-1].after.start_time


def tracks_of_objects(
    messages: List[DetectionsMessage], truth: List[List[ShapeTruth]]
) -> Dict[Tuple[int, int], List[int]]:
    """Of each object (and class) that is clear to see for long: the tracks of the boxes that were found on it."""
    began = messages[0].captured_at
    clear: Counter[Tuple[int, int]] = Counter()
    tracks: Dict[Tuple[int, int], List[int]] = {}
    for message in messages:
        number = min(round((message.captured_at - began) * FPS), len(truth) - 1)
        for one in truth[number]:
            if one.hard:
                continue
            key = one.object_id, one.class_id
            clear[key] += 1
            boxes = [found.box for found in message.objects if found.label == LABELS[one.class_id]]
            ids = [found.track_id for found in message.objects if found.label == LABELS[one.class_id]]
            for track in np.array(ids)[_covers(boxes, one.box)].tolist():
                if track not in tracks.setdefault(key, []):
                    tracks[key].append(track)
    return {key: own for key, own in tracks.items() if clear[key] >= CLEAR_FRAMES}


def _covers(boxes: List[List[float]], box: Tuple[int, int, int, int]) -> np.ndarray:
    """Which of *boxes* lie on *box*."""
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    return iou_matrix(rows, np.array([box], np.float64), np.array([False]))[:, 0] >= 0.5
