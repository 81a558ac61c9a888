from __future__ import annotations

import json
import time
from typing import Any, Dict, List

import numpy as np
import pytest

from daemon.batches import Inferred
from daemon.counters import Counters
from daemon.outbox import Outbox
from daemon.plan import Plan
from daemon.reports import Reporter
from daemon.rules import Rule
from daemon.topics import Topics
from sightd.types import Batch, Candidates, Detections, Placement
from tests.parts.frames import frame

LABELS = ["person", "car", "dog"]


def three() -> Detections:
    """A person 0.9, a car 0.6, a dog 0.3."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
    return Detections(boxes, np.array([0.9, 0.6, 0.3], np.float32), np.array([0, 1, 2], np.int32))


def inferred(*cameras: str) -> Inferred:
    frames = [frame(camera, 7) for camera in cameras]
    now = time.monotonic()
    nothing = Candidates(np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int32))
    places = [Placement(1.0, 1.0, 0.0, 0.0, 64, 48)] * len(frames)
    return Inferred("m", Batch(frames, places), nothing, now - 0.03, now - 0.02, now - 0.01)


def reported(rules: Dict[str, Rule], *cameras: str) -> List[Dict[str, Any]]:
    outbox, counters, plan = Outbox(), Counters(), Plan({}, rules, {})
    try:
        reporter = Reporter(lambda: plan, {"m": LABELS}, Topics("p"), outbox, counters, "boot")
        reporter(inferred(*cameras), [three() for _ in cameras])
        assert counters.batches == {"m": 1}
        return [{"topic": m.topic, **json.loads(m.payload)} for m in outbox.take(100)]
    finally:
        outbox.close()


def test_each_camera_reports_by_its_own_rule_on_its_own_topic() -> None:
    rules = {"yard": Rule(0.5, bundle="m"), "gate": Rule(0.2, frozenset({2}), bundle="m")}
    yard, gate = reported(rules, "yard", "gate")
    assert (yard["topic"], gate["topic"]) == ("p/yard/detections", "p/gate/detections")
    assert [found["label"] for found in yard["objects"]] == ["person", "car"]
    assert [found["label"] for found in gate["objects"]] == ["dog"]
    assert yard["frame_id"] == "boot-yard-7"


def test_a_frame_without_objects_is_reported_too() -> None:
    (message,) = reported({"yard": Rule(0.95, bundle="m")}, "yard")
    assert message["objects"] == []


def test_the_stages_add_up_to_the_total() -> None:
    (message,) = reported({"yard": Rule(0.5, bundle="m")}, "yard")
    latency = message["latency_ms"]
    stages = ("decode", "wait", "resize", "infer", "post")
    assert latency["total"] == pytest.approx(sum(latency[stage] for stage in stages), abs=0.1)
    assert latency["infer"] == pytest.approx(10, abs=0.1)


def test_a_frame_of_a_camera_that_is_gone_is_not_reported() -> None:
    (message,) = reported({"yard": Rule(0.5, bundle="m")}, "gone", "yard")
    assert message["camera"] == "yard"


@pytest.mark.parametrize("set_by_s", [-86_400.0, 86_400.0])
def test_a_clock_that_was_set_since_the_frame_was_captured_does_not_change_how_old_it_is(
    set_by_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = inferred("yard")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + set_by_s)
    monkeypatch.setattr(f"{__name__}.inferred", lambda *cameras: captured)
    (message,) = reported({"yard": Rule(0.5, bundle="m")}, "yard")
    assert 0 <= message["published_at"] - message["captured_at"] < 60
