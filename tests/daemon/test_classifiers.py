"""Classifiers behind a detector, run without threads: which crops they get, and what may wait for them."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np
import pytest

from daemon.batches import Inferred
from daemon.classifiers import Classifier, Classifiers
from daemon.counters import Counters
from daemon.lanes import Lane
from daemon.pipeline import analyse, infer
from daemon.plan import Plan, Suppression
from daemon.progress import Progress
from daemon.rules import ClassifierRule, Rule
from daemon.slots import FrameSlots
from sightd.bundle import open_bundle
from sightd.engines import EngineOptions, open_engine
from sightd.errors import BundleError, EngineError
from sightd.types import Batch, Candidates, Detections, InputSpec, Placement
from tests.parts.blob_bundles import COLOURS, write_blob_bundle, write_colour_bundle
from tests.parts.blobs import LABELS, blob_picture
from tests.parts.frames import frame
from tests.parts.patient_engine import Clock, PatientEngine

TINY = InputSpec(8, 8, resize="stretch")
Box = Tuple[int, int, int, int]


def ask(
    boxes: Mapping[str, List[Box]],
    rule: ClassifierRule,
    engine: PatientEngine,
    classifier: Optional[Classifier] = None,
    **rules: Rule,
) -> Tuple[List[Detections], Counters]:
    """What is found in one batch, a frame for each camera with *boxes*, after a classifier was asked about it.

    :param classifier: one that was asked before; else a new one with *engine*.

    The pictures are black but for the boxes' x1, which is their colour: so a crop tells whose it is.
    """
    frames, counters = [], Counters()
    for camera, own in boxes.items():
        image = np.zeros((100, 200, 3), np.uint8)
        for x1, y1, x2, y2 in own:
            image[y1:y2, x1:x2] = x1
        frames.append(frame(camera, 0, image))
    most = max(map(len, boxes.values()))
    corners = np.zeros((len(boxes), most, 4), np.float32)
    scores = np.zeros((len(boxes), most), np.float32)
    for row, own in enumerate(boxes.values()):
        corners[row, : len(own)], scores[row, : len(own)] = np.array(own).reshape(-1, 4), 0.9
    candidates = Candidates(corners, scores, np.zeros_like(scores, np.int32))
    batch = Batch(frames, [Placement(1, 1, 0, 0, 200, 100)] * len(frames))
    plan = Plan(
        {},
        {camera: rules.get(camera, Rule(0.5, bundle="m", classifiers=(rule,))) for camera in boxes},
        {"m": Suppression(0.5)},
    )
    classifiers = Classifiers({"c": classifier or Classifier(engine, ["thing"])}, counters)
    inferred = classifiers.ask(Inferred("m", batch, candidates, 0.0, 0.0, 0.0), plan).result()
    return inferred.found or [], counters


def looked_at(found: List[Detections]) -> List[List[int]]:
    """The x1 of the objects of each frame that have an attribute."""
    return [sorted(int(box[0]) for box, said in zip(one.boxes, one.attributes) if "kind" in said) for one in found]


def crops(engine: PatientEngine) -> List[int]:
    """The colours in the middle of the crops of its only batch: the x1 of their objects."""
    (pictures,) = engine.seen
    return [int(picture[4, 4, 0]) for picture in pictures]


RULE = ClassifierRule("kind", "c", min_size=10)


def test_every_object_is_cut_out_and_gets_its_own_word() -> None:
    engine = PatientEngine(spec=TINY)
    found, counters = ask({"a": [(10, 10, 40, 40)], "b": [(120, 5, 160, 60), (60, 5, 80, 90)]}, RULE, engine)
    assert sorted(crops(engine)) == [10, 60, 120]
    assert looked_at(found) == [[10], [60, 120]]
    assert found[0].attributes[0]["kind"].label == "thing"
    assert found[0].attributes[0]["kind"].score == 0.9
    assert (counters.crops["kind"], counters.skipped["kind"]) == (3, 0)


def test_a_class_without_a_label_is_an_error_with_what_to_do() -> None:
    engine = PatientEngine(spec=TINY)
    with pytest.raises(BundleError, match=r"classifier kind: the engine finds class 0, .* has 0 labels"):
        ask({"a": [(10, 10, 40, 40)]}, RULE, engine, Classifier(engine, []))


def test_small_objects_and_other_classes_are_left_alone_and_not_counted() -> None:
    engine = PatientEngine(spec=TINY)
    found, counters = ask({"a": [(10, 10, 19, 40), (50, 10, 60, 20)]}, RULE, engine)
    assert looked_at(found) == [[50]]
    other, _ = ask({"a": [(50, 10, 90, 50)]}, ClassifierRule("kind", "c", frozenset({7}), min_size=10), engine)
    assert looked_at(other) == [[]]
    assert (counters.crops["kind"], counters.skipped["kind"]) == (1, 0)


def test_of_too_many_in_a_frame_the_largest_are_looked_at_and_the_rest_is_counted() -> None:
    boxes = [(10 * step, 1, 10 * step + 10 + step, 40) for step in range(1, 9)]
    rule = ClassifierRule("kind", "c", min_size=10, max_per_frame=3)
    found, counters = ask({"a": boxes}, rule, PatientEngine(max_batch=8, spec=TINY))
    assert looked_at(found) == [[60, 70, 80]]
    assert (counters.crops["kind"], counters.skipped["kind"]) == (3, 5)


def test_of_too_many_in_a_batch_each_frames_largest_come_first() -> None:
    large = [(10, 1, 50, 50), (60, 1, 95, 50), (100, 1, 140, 45)]
    small = [(10, 60, 22, 72), (30, 60, 41, 71)]
    found, counters = ask({"a": large, "b": small}, RULE, PatientEngine(max_batch=3, spec=TINY))
    assert looked_at(found) == [[10, 100], [10]]
    assert (counters.crops["kind"], counters.skipped["kind"]) == (3, 2)


def test_cameras_take_turns_where_there_is_room_for_one_object_only() -> None:
    engine = PatientEngine(max_batch=1)
    classifier = Classifier(engine, ["thing"])
    boxes: Dict[str, List[Box]] = {"a": [(10, 0, 90, 90)], "b": [(30, 0, 60, 30)], "c": [(50, 0, 70, 20)]}
    seen = [looked_at(ask(boxes, RULE, engine, classifier)[0]) for _ in range(6)]
    assert seen == [[[10], [], []], [[], [30], []], [[], [], [50]]] * 2


def test_an_object_that_the_camera_does_not_report_is_not_looked_at() -> None:
    engine = PatientEngine(spec=TINY)
    quiet = Rule(0.95, bundle="m", classifiers=(RULE,))
    found, counters = ask({"a": [(10, 10, 40, 40)], "b": [(60, 10, 90, 40)]}, RULE, engine, a=quiet)
    assert looked_at(found) == [[], [60]]
    assert counters.crops["kind"] == 1
    assert [len(one) for one in found] == [1, 1], "its tracker is given it all the same"


def test_a_camera_that_has_gone_over_to_another_model_is_not_asked_about() -> None:
    engine = PatientEngine(spec=TINY)
    moved = Rule(0.5, bundle="other", classifiers=(RULE,))
    found, _ = ask({"a": [(10, 10, 40, 40)], "b": [(60, 10, 90, 40)]}, RULE, engine, a=moved)
    assert [len(one.attributes) for one in found] == [1, 1]
    assert looked_at(found) == [[], [60]]


def test_a_word_that_it_is_not_sure_of_is_not_said() -> None:
    rule = ClassifierRule("kind", "c", min_size=10, min_score=0.95)
    found, counters = ask({"a": [(10, 10, 40, 40)]}, rule, PatientEngine(spec=TINY))
    assert looked_at(found) == [[]]
    assert counters.crops["kind"] == 1


def test_without_any_object_the_classifiers_engine_is_not_troubled() -> None:
    engine = PatientEngine(spec=TINY)
    found, _ = ask({"a": []}, RULE, engine)
    assert ([len(one) for one in found], engine.seen) == ([0], [])


def test_a_classifier_that_fails_is_named() -> None:
    class Failing(PatientEngine):
        def take_back(self, *_: object) -> Candidates:  # type: ignore[override]
            raise EngineError("out of memory")

    with pytest.raises(EngineError, match=r"^classifier kind: out of memory$"):
        ask({"a": [(10, 10, 40, 40)]}, RULE, Failing(spec=TINY))


@pytest.mark.parametrize("wrong", [False, True])
def test_real_engines_say_of_each_square_what_the_classifier_sees(tmp_path: Path, wrong: bool) -> None:
    detector = open_bundle(write_blob_bundle(tmp_path / "blobs"))
    classifier = open_bundle(write_colour_bundle(tmp_path / "colours", wrong=wrong))
    rule = Rule(0.3, bundle="m", classifiers=(ClassifierRule("colour", "c", min_size=8),))
    plan = Plan({}, {"a": rule}, {"m": Suppression(0.3)})
    slots, seen = FrameSlots(), []
    results: queue.Queue[Optional[Inferred]] = queue.Queue()
    slots.put(frame("a", 0, blob_picture(3)))
    stopped = iter([False])
    options = EngineOptions(threads=1)
    with open_engine(detector, options) as engine, open_engine(classifier, options) as second:
        classifiers = Classifiers({"c": Classifier(second, COLOURS)}, Counters())
        lanes = [Lane("m", engine, classifiers, Progress())]
        infer(slots, lanes, lambda: plan, results, lambda: next(stopped, True))
    results.put(None)
    analyse(results, lambda: plan, lambda *both: seen.append(both), Progress())
    ((inferred, (found,)),) = seen
    assert len(found) == 5
    said = [attributes["colour"].label for attributes in found.attributes]
    meant = dict(zip(LABELS, reversed(COLOURS) if wrong else COLOURS))
    assert said == [meant[LABELS[index]] for index in found.classes]
    times = inferred.times(inferred.batch.frames[0])
    assert times.classify_s > 0


class Busy:
    """A detector and a classifier with scripted engines, and cameras that never pause."""

    def __init__(self, detector: PatientEngine, classifier: PatientEngine, *, every: int = 1) -> None:
        """:param every: every so many frames of a camera have something to classify; the others are not asked about."""
        self.counters = Counters()
        self.classifier = classifier
        classifiers = Classifiers({"c": Classifier(classifier, ["thing"])}, self.counters)
        self.lane = Lane("m", detector, classifiers, Progress())
        self.most_under_way = 0
        asked = Rule(0.5, bundle="m", classifiers=(ClassifierRule("kind", "c", min_size=1),))
        self._plans = [
            Plan({}, {"a": rule}, {"m": Suppression(0.5)}) for rule in [asked, *[Rule(0.5, bundle="m")] * (every - 1)]
        ]

    def run(self, looks: int) -> List[Inferred]:
        slots, asked = FrameSlots(), iter(range(looks))
        results: queue.Queue[Optional[Inferred]] = queue.Queue()

        def stopped() -> bool:
            self.classifier.clock.now += 1
            number = next(asked, None)
            if number is not None:
                slots.put(frame("a", number))
            self.most_under_way = max(self.most_under_way, self.lane.under_way)
            return number is None

        turn = iter(range(1_000_000))
        infer(slots, [self.lane], lambda: self._plans[next(turn) % len(self._plans)], results, stopped)
        return [item for item in list(results.queue) if item]


def seqs(batches: List[Inferred]) -> List[int]:
    return [one.seq for batch in batches for one in batch.batch.frames]


def test_a_slow_classifier_lets_only_so_many_batches_wait_and_frames_are_dropped_instead() -> None:
    clock = Clock()
    it = Busy(PatientEngine(1, clock), PatientEngine(10, clock, spec=TINY))
    batches = it.run(150)
    assert it.most_under_way == 4
    assert it.classifier.most_under_way == 2
    assert len(batches) < 30, "the newest frame of the camera replaced the others in its slot"
    assert seqs(batches) == sorted(seqs(batches))
    assert all(one.found and "kind" in one.found[0].attributes[0] for one in batches)


def test_batches_without_anything_to_classify_do_not_overtake_those_that_wait() -> None:
    clock = Clock()
    it = Busy(PatientEngine(1, clock), PatientEngine(10, clock, spec=TINY), every=3)
    batches = it.run(150)
    assert it.most_under_way == 4
    asked = [one.found is not None for one in batches]
    assert any(asked)
    assert not all(asked)
    assert seqs(batches) == sorted(seqs(batches))


def test_at_the_end_what_waits_for_anothers_classification_does_not_spin() -> None:
    """The clock stands still: only waiting for what the classifier has gets on."""
    classifier = PatientEngine(10, spec=TINY)
    classifiers = Classifiers({"c": Classifier(classifier, ["thing"])}, Counters())
    lanes = [Lane(name, PatientEngine(), classifiers, Progress()) for name in ("waits", "asked")]
    asks = (ClassifierRule("kind", "c", min_size=1),)
    plan = Plan(
        {},
        {name: Rule(0.5, bundle=name, classifiers=asks) for name in ("waits", "asked")},
        dict.fromkeys(("waits", "asked"), Suppression(0.5)),
    )
    for lane in (*lanes[1:] * 2, lanes[0]):
        lane.launch([frame(lane.bundle, 0)])
    for _ in range(2):
        assert list(lanes[1].advance(plan)) == []
    looks = iter(range(100))
    results: queue.Queue[Optional[Inferred]] = queue.Queue()

    def stopped() -> bool:
        next(looks)
        return True

    infer(FrameSlots(), lanes, lambda: plan, results, stopped)
    assert [item.bundle for item in list(results.queue) if item] == ["asked", "waits", "asked"]


def test_models_that_share_a_slow_classifier_take_turns_and_none_blocks_the_others() -> None:
    clock, names = Clock(), "mnop"
    second = PatientEngine(5, clock, spec=TINY)
    classifiers = Classifiers({"c": Classifier(second, ["thing"])}, Counters())
    lanes = [Lane(name, PatientEngine(1 if name == "m" else 4, clock), classifiers, Progress()) for name in names]
    asks = (ClassifierRule("kind", "c", min_size=1),)
    plan = Plan(
        {},
        {f"on-{name}": Rule(0.5, bundle=name, classifiers=asks) for name in names},
        dict.fromkeys(names, Suppression(0.5)),
    )
    slots, looks = FrameSlots(), iter(range(250))
    results: queue.Queue[Optional[Inferred]] = queue.Queue()
    blocked_before_the_end: List[int] = []

    def stopped() -> bool:
        clock.now += 1
        number = next(looks, None)
        for camera in plan.rules if number is not None else ():
            slots.put(frame(camera, number or 0))
        blocked_before_the_end.append(second.blocked)
        return number is None

    infer(slots, lanes, lambda: plan, results, stopped)
    count: Dict[str, int] = dict.fromkeys(names, 0)
    for item in list(results.queue):
        count[item.bundle if item else ""] += 1
    assert min(count.values()) >= 4
    assert max(count.values()) - min(count.values()) <= 2
    assert blocked_before_the_end[249] == 0
