"""Several models in one loop, run without threads: who is served next, and who waits for whom."""

from __future__ import annotations

import queue
import time
from collections import Counter
from typing import Callable, Dict, Iterable, List, Mapping, Optional

import pytest

from daemon.batches import Inferred
from daemon.classifiers import Classifiers
from daemon.counters import Counters
from daemon.lanes import Lane
from daemon.pipeline import infer, next_batch
from daemon.plan import Plan, Suppression
from daemon.progress import Progress
from daemon.rules import Rule
from daemon.slots import FrameSlots
from sightd.engines import Engine
from sightd.engines.stub import StubEngine
from sightd.errors import EngineError
from sightd.types import InputSpec
from tests.parts.frames import frame
from tests.parts.patient_engine import Clock, PatientEngine

MODEL_OF = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "c1": "c"}


def chosen(line: List[str], room: Mapping[str, int]) -> List[str]:
    return next_batch(MODEL_OF.__getitem__, room, line)


@pytest.mark.parametrize(
    ("line", "room", "expected"),
    [
        (["b1", "a1", "a2"], {"a": 4, "b": 4}, ["b1"]),
        (["a1", "b1", "a2", "a3"], {"a": 4, "b": 4}, ["a1", "a2", "a3"]),
        (["a1", "b1", "a2", "a3"], {"a": 2, "b": 4}, ["a1", "a2"]),
        (["a1", "b1", "a2", "c1"], {"a": 0, "b": 4, "c": 4}, ["b1"]),
        (["a1", "a2"], {"a": 0, "b": 4}, []),
        ([], {"a": 4, "b": 4}, []),
    ],
    ids=[
        "longest-first",
        "who-shares-the-model-comes-along",
        "as-many-as-fit",
        "a-full-model-is-passed",
        "all-full",
        "-",
    ],
)
def test_the_longest_waiting_camera_whose_model_has_room_comes_first(
    line: List[str], room: Mapping[str, int], expected: List[str]
) -> None:
    assert chosen(line, room) == expected


def plan_of(cameras: Mapping[str, str]) -> Plan:
    """*cameras* by name: the model that looks at it."""
    return Plan(
        {},
        {camera: Rule(0.5, bundle=model) for camera, model in cameras.items()},
        {model: Suppression(0.5) for model in cameras.values()},
    )


def lanes_of(engines: Mapping[str, Engine]) -> List[Lane]:
    classifiers = Classifiers({}, Counters())
    return [Lane(name, engine, classifiers, Progress()) for name, engine in engines.items()]


def refilling(
    slots: FrameSlots, cameras: Mapping[str, str], looks: int, engines: Iterable[Engine] = ()
) -> Callable[[], bool]:
    """Stops after so many looks; at each of them every camera has a newer frame, and a tick has passed."""
    seq = iter(range(looks))

    def stopped() -> bool:
        for engine in engines:
            if isinstance(engine, PatientEngine):
                engine.clock.now += 1
        number = next(seq, None)
        for camera in cameras if number is not None else ():
            slots.put(frame(camera, number or 0))
        return number is None

    return stopped


def served(engines: Mapping[str, Engine], cameras: Mapping[str, str], looks: int = 150) -> List[Inferred]:
    slots: FrameSlots = FrameSlots()
    results: queue.Queue[Optional[Inferred]] = queue.Queue()
    plan = plan_of(cameras)
    infer(slots, lanes_of(engines), lambda: plan, results, refilling(slots, cameras, looks, engines.values()))
    return [item for item in (results.get_nowait() for _ in range(results.qsize())) if item is not None]


def frames_by_camera(batches: List[Inferred]) -> Dict[str, int]:
    return Counter(one.camera for batch in batches for one in batch.batch.frames)


def test_frames_go_to_the_model_of_their_camera_and_to_no_other() -> None:
    cameras = {"a1": "a", "a2": "a", "b1": "b"}
    for batch in served({"a": PatientEngine(), "b": PatientEngine()}, cameras, looks=20):
        assert {cameras[one.camera] for one in batch.batch.frames} == {batch.bundle}


def test_a_slow_model_does_not_hold_a_fast_one_up_and_is_served_all_the_same() -> None:
    cameras = {"s1": "slow", "s2": "slow", "s3": "slow", "f1": "fast"}
    slow = PatientEngine(60)
    batches = served({"slow": slow, "fast": PatientEngine(2)}, cameras)
    assert slow.blocked <= 2, "only when the service stops"
    count = Counter(batch.bundle for batch in batches)
    assert count["fast"] > 10 * count["slow"] > 0


def test_a_model_with_many_cameras_takes_no_turns_from_one_with_few() -> None:
    cameras = {**{f"m{number}": "many" for number in range(12)}, "f1": "few"}
    frames = frames_by_camera(served({"many": PatientEngine(6), "few": PatientEngine(6)}, cameras))
    few = frames.pop("f1")
    assert few > max(frames.values())
    assert max(frames.values()) - min(frames.values()) <= 1, "nor do the cameras of one model from each other"


def test_each_model_has_its_next_batch_under_way_before_the_last_is_collected() -> None:
    engines = {"a": PatientEngine(8), "b": PatientEngine(8)}
    served(engines, {"a1": "a", "b1": "b"})
    assert [engine.most_under_way for engine in engines.values()] == [2, 2]


def test_every_camera_gets_its_batches_in_order_and_what_is_under_way_is_finished() -> None:
    batches = served({"a": PatientEngine(5), "b": PatientEngine(1)}, {"a1": "a", "b1": "b", "b2": "b"})
    for camera in ("a1", "b1", "b2"):
        seqs = [one.seq for batch in batches for one in batch.batch.frames if one.camera == camera]
        assert seqs == sorted(seqs)
    last = max(one.seq for batch in batches for one in batch.batch.frames)
    assert last >= 148


def test_a_frame_of_a_camera_that_has_gone_does_not_stay_in_line() -> None:
    slots: FrameSlots = FrameSlots()
    results: queue.Queue[Optional[Inferred]] = queue.Queue()
    slots.put(frame("gone", 0))
    answers = iter([False])
    plan = plan_of({"a1": "a"})
    infer(slots, lanes_of({"a": PatientEngine()}), lambda: plan, results, lambda: next(answers, True))
    assert results.qsize() == 1
    slots.put(frame("gone", 1))
    assert slots.dropped == {}


def test_a_camera_that_a_reload_gives_to_another_model_goes_over_with_its_next_frame() -> None:
    slots: FrameSlots = FrameSlots()
    results: queue.Queue[Optional[Inferred]] = queue.Queue()
    plans = iter([plan_of({"x": "a", "y": "b"}), plan_of({"x": "b", "y": "b"})])
    holds = [next(plans)]

    def stopped() -> bool:
        if results.qsize() == 1 and len(holds) == 1:
            holds.append(next(plans))
        if results.qsize() < 2:
            slots.put(frame("x", results.qsize()))
        return results.qsize() >= 2

    lanes = lanes_of({"a": PatientEngine(), "b": PatientEngine()})
    infer(slots, lanes, lambda: Plan({}, holds[-1].rules, plan_of({"x": "a", "y": "b"}).models), results, stopped)
    assert [item.bundle for item in list(results.queue)[:2] if item] == ["a", "b"]


def test_an_engine_that_hangs_is_held_work_however_busy_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: float(ticks.now))  # no busy machine makes these longer
    hanging, busy = Progress(), Progress()
    classifiers = Classifiers({}, Counters())
    engines = [PatientEngine(100_000, ticks), PatientEngine(1, Clock())]
    lanes = [Lane("a", engines[0], classifiers, hanging), Lane("b", engines[1], classifiers, busy)]
    slots, held = FrameSlots(), []
    cameras = {"a1": "a", "b1": "b"}
    plan = plan_of(cameras)
    refill = refilling(slots, cameras, 200, engines)

    def stopped() -> bool:
        held.append((hanging.held_s(), busy.held_s()))
        return refill()

    infer(slots, lanes, lambda: plan, queue.Queue(), stopped)
    longest_hanging, longest_busy = (max(column) for column in zip(*held))
    assert longest_hanging > 190, "since it got its last batch"
    assert longest_busy < 5


def test_the_error_of_an_engine_names_its_bundle() -> None:
    class Failing(PatientEngine):
        def submit(self, *_: object) -> None:  # type: ignore[override]
            raise EngineError("out of memory")

    with pytest.raises(EngineError, match=r"^/opt/b: out of memory$"):
        served({"a": PatientEngine(), "/opt/b": Failing()}, {"a1": "a", "b1": "/opt/b"})


def test_with_real_clocks_two_models_work_at_the_same_time() -> None:
    spec = InputSpec(64, 48, resize="stretch")
    with StubEngine(spec, picture_s=0.004, max_batch=1) as a, StubEngine(spec, picture_s=0.004, max_batch=1) as b:
        batches = served({"a": a, "b": b}, {"a1": "a", "b1": "b"}, looks=100)
    of = {name: [batch for batch in batches if batch.bundle == name] for name in "ab"}
    beside = [one for one in of["a"] if any(overlap(one, other) for other in of["b"])]
    assert len(beside) > len(of["a"]) / 2


def overlap(one: Inferred, other: Inferred) -> bool:
    """Whether the two were under way at the same time."""
    return one.submitted_at < other.inferred_at and other.submitted_at < one.inferred_at
