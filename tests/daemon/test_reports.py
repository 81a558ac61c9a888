from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
import pytest

from daemon.batches import Inferred
from daemon.counters import Counters
from daemon.outbox import Message, Outbox
from daemon.plan import Plan
from daemon.presence import Presence
from daemon.reports import Reporter
from daemon.rules import EventRule, Rule
from daemon.topics import Topics
from sightd.errors import BundleError
from sightd.types import Batch, Candidates, Detections, Placement
from tests.parts.frames import frame

LABELS = ["person", "car", "dog"]


def three() -> Detections:
    """A person 0.9, a car 0.6, a dog 0.3."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
    return Detections(boxes, np.array([0.9, 0.6, 0.3], np.float32), np.array([0, 1, 2], np.int32))


def inferred(*cameras: str, bundle: str = "m", ago_s: float = 0.0) -> Inferred:
    frames = [frame(camera, 7, captured_mono=time.monotonic() - ago_s) for camera in cameras]
    now = time.monotonic()
    nothing = Candidates(np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int32))
    places = [Placement(1.0, 1.0, 0.0, 0.0, 64, 48)] * len(frames)
    return Inferred(bundle, Batch(frames, places), nothing, now - 0.03, now - 0.02, now - 0.01)


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
    assert [found["track_id"] for found in yard["objects"] + gate["objects"]] == [1, 2, 3]


def test_a_frame_without_objects_is_reported_too() -> None:
    (message,) = reported({"yard": Rule(0.95, bundle="m")}, "yard")
    assert message["objects"] == []


def test_the_stages_add_up_to_the_total() -> None:
    (message,) = reported({"yard": Rule(0.5, bundle="m")}, "yard")
    latency = message["latency_ms"]
    stages = ("decode", "wait", "resize", "infer", "post")
    assert latency["total"] == pytest.approx(sum(latency[stage] for stage in stages), abs=0.1)
    assert latency["infer"] == pytest.approx(10, abs=0.1)


def test_a_class_without_a_label_is_an_error_with_what_to_do() -> None:
    """It may be rare: what an engine found on two pictures when it was loaded does not tell all of its classes."""
    plan, outbox = Plan({}, {"yard": Rule(0.5, bundle="m")}, {}), Outbox()
    reporter = Reporter(lambda: plan, {"m": LABELS[:2]}, Topics("p"), outbox, Counters(), "boot")
    with pytest.raises(BundleError, match=r"m: the engine finds class 2, .* has 2 labels: .* convert it again"):
        reporter(inferred("yard"), [three()])
    outbox.close()


def test_a_frame_of_a_camera_that_is_gone_is_not_reported() -> None:
    (message,) = reported({"yard": Rule(0.5, bundle="m")}, "gone", "yard")
    assert message["camera"] == "yard"


class Recording(Outbox):
    """Remembers the events that were put; what is taken of them depends on receipts."""

    def __init__(self) -> None:
        super().__init__()
        self.events_put: List[Message] = []

    def put(self, message: Message) -> None:
        if message.seq:
            self.events_put.append(message)
        super().put(message)


class Reports:
    """A reporter of two models and two cameras whose rules may change, and the events that it told."""

    def __init__(self) -> None:
        self.rules = {"yard": _rule("m"), "gate": _rule("m")}
        self.outbox = Recording()
        self.broker: Dict[str, bytes] = {}  # what it has kept
        labels = {"m": LABELS, "other": LABELS}
        self.reporter = Reporter(lambda: Plan({}, self.rules, {}), labels, Topics("p"), self.outbox, Counters(), "boot")

    def see(self, *cameras: str, frames: int = 5, bundle: str = "m", ago_s: float = 0.0) -> None:
        for number in range(frames):
            seen = inferred(*cameras, bundle=bundle, ago_s=ago_s + 0.1 * (frames - number))
            self.reporter(seen, [three() for _ in cameras])

    def events(self) -> List[Dict[str, Any]]:
        """Those that were put since the last call."""
        taken, self.outbox.events_put = self.outbox.events_put, []
        events = [json.loads(message.payload) for message in taken]
        assert [event["seq"] for event in events] == [message.seq for message in taken], "both tell it"
        assert [message.topic for message in taken] == [f"p/{event['after']['camera']}/events" for event in events]
        assert all(
            message.qos == 1 and message.priority == (event["type"] != "update")
            for message, event in zip(taken, events)
        )
        return events

    def numbers(self) -> Dict[str, int]:
        """What a broker has by now."""
        self.broker.update({message.topic: message.payload for message in self.outbox.take(1000) if message.retain})
        return {topic: int(payload) for topic, payload in self.broker.items() if payload}

    def kinds(self) -> List[str]:
        return [f"{event['type']} {event['after']['camera']} {event['after']['label']}" for event in self.events()]


def _rule(bundle: str) -> Rule:
    return Rule(0.5, bundle=bundle, events=EventRule(min_duration_s=0.0, lost_after_s=2.0))


@pytest.fixture
def reports() -> Iterator[Reports]:
    made = Reports()
    yield made
    made.outbox.close()


def test_events_of_all_cameras_are_put_in_the_order_of_their_seq(reports: Reports) -> None:
    reports.see("yard", "gate", frames=3)
    reports.reporter.close()
    events = reports.events()
    assert [event["type"] for event in events] == ["new"] * 4 + ["end"] * 4
    assert [event["seq"] for event in events] == list(range(1, 9))
    assert {event["boot_id"] for event in events} == {"boot"}
    assert len({event["after"]["id"] for event in events}) == 4


def test_a_camera_that_is_silent_ends_its_events_and_the_others_do_not(reports: Reports) -> None:
    reports.see("yard", ago_s=3.0)
    reports.see("gate")
    assert len(reports.kinds()) == 4
    reports.reporter.look_round()
    assert reports.kinds() == ["end yard person", "end yard car"]


@pytest.mark.parametrize(
    "change",
    [
        lambda rules: {"gate": rules["gate"]},  # removed, or disabled
        lambda rules: {**rules, "yard": _rule("other")},
    ],
)
def test_a_camera_that_is_gone_or_looked_at_by_another_model_ends_its_events(
    reports: Reports, change: Callable[[Dict[str, Rule]], Dict[str, Rule]]
) -> None:
    reports.see("yard", "gate")
    assert len(reports.kinds()) == 4
    reports.reporter.look_round()
    assert reports.kinds() == []
    reports.rules = change(reports.rules)
    reports.reporter.look_round()
    assert reports.kinds() == ["end yard person", "end yard car"]
    reports.reporter.look_round()
    assert reports.kinds() == []


def test_the_first_frame_of_another_model_ends_the_events_of_the_one_before(reports: Reports) -> None:
    reports.see("yard")
    reports.rules["yard"] = _rule("other")
    reports.see("yard", bundle="m")  # was still under way
    assert reports.kinds() == ["new yard person", "new yard car"]
    reports.see("yard", bundle="other", frames=1)
    assert reports.kinds() == ["end yard person", "end yard car"]


def test_a_rule_that_changes_holds_for_the_objects_that_are_there(reports: Reports) -> None:
    reports.see("yard")
    reports.rules["yard"] = replace(reports.rules["yard"], classes=frozenset({0}))
    reports.see("yard", frames=1, ago_s=-2.5)
    assert reports.kinds() == ["new yard person", "new yard car", "end yard person", "end yard car"]


def test_the_numbers_follow_what_comes_and_goes(reports: Reports) -> None:
    zero = {f"p/{camera}/objects/{label}": 0 for camera in ("yard", "gate") for label in LABELS}
    reports.reporter.look_round()
    assert reports.numbers() == zero
    reports.see("yard")
    assert reports.numbers() == {**zero, "p/yard/objects/person": 1, "p/yard/objects/car": 1}
    reports.reporter.close()
    assert reports.numbers() == zero


def test_the_numbers_of_a_camera_and_a_label_that_are_taken_out_are_taken_back(reports: Reports) -> None:
    reports.reporter.look_round()
    reports.see("yard", "gate")
    reports.rules = {"gate": replace(reports.rules["gate"], classes=frozenset({1}))}
    reports.reporter.look_round()
    assert reports.numbers() == {"p/gate/objects/car": 1}
    reports.rules["gate"] = replace(reports.rules["gate"], events=EventRule(enabled=False))
    reports.see("gate", frames=1)
    reports.reporter.look_round()
    assert reports.numbers() == {}


def test_what_came_before_the_first_round_is_counted(reports: Reports) -> None:
    reports.see("yard")
    assert reports.numbers() == {}
    reports.reporter.look_round()
    assert reports.numbers()["p/yard/objects/person"] == 1


def test_labels_that_are_written_alike_are_counted_together() -> None:
    outbox = Outbox()
    presence = Presence(Topics("p"), outbox)
    presence.follow({"gate": ["red car", "Red-Car"]})
    presence.count("gate", "red car", 1)
    presence.count("gate", "Red-Car", 1)
    assert [(message.topic, message.payload) for message in outbox.take(10)] == [("p/gate/objects/red_car", b"2")]
    outbox.close()


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
