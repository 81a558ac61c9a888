"""The two loops, run without threads: a queue holds what would cross them."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

import numpy as np
import pytest

from daemon import pipeline
from daemon.batches import Inferred
from daemon.classifiers import Classifiers
from daemon.counters import Counters
from daemon.lanes import Lane
from daemon.pipeline import analyse, infer
from daemon.plan import Plan, Suppression
from daemon.progress import Progress
from daemon.rules import Rule
from daemon.slots import FrameSlots
from sightd.engines import Engine, Slot, Ticket
from sightd.engines.onnxruntime import OnnxRuntimeEngine
from sightd.engines.stub import StubEngine
from sightd.types import Candidates, Detections, InputSpec
from tests.parts.finished import bright_quadrants
from tests.parts.frames import frame

SPEC = InputSpec(64, 48, resize="stretch")


@pytest.fixture
def engine() -> Iterator[StubEngine]:
    with StubEngine(SPEC, picture_s=0.001, max_batch=2, objects=3) as stub:
        yield stub


def stop_after(looks: int) -> Callable[[], bool]:
    """The loop looks once before each batch that it takes."""
    answers = iter([False] * looks)
    return lambda: next(answers, True)


def plan(max_objects: int = 10) -> Plan:
    """One model, "m", for all cameras."""
    return Plan({}, {"a": Rule(0.5, bundle="m")}, {"m": Suppression(0.5, max_objects=max_objects)})


def lane(engine: Engine, progress: Optional[Progress] = None) -> Lane:
    return Lane("m", engine, Classifiers({}, Counters()), progress or Progress())


def drained(results: queue.Queue[Optional[Inferred]]) -> List[Inferred]:
    return [results.get_nowait() for _ in range(results.qsize())]


def test_frames_of_several_cameras_share_batches_no_larger_than_the_engine_takes(engine: StubEngine) -> None:
    slots, results = FrameSlots(), queue.Queue()
    for camera in "abc":
        slots.put(frame(camera, 0))
    infer(slots, [lane(engine)], plan, results, stop_after(2))
    assert [[f.camera for f in r.batch.frames] for r in drained(results)] == [["a", "b"], ["c"]]


def test_the_next_batch_is_submitted_before_the_last_is_collected() -> None:
    log: List[str] = []
    slots, results = FrameSlots(), queue.Queue()
    for camera in "abc":
        slots.put(frame(camera, 0))
    with _Recording(log) as engine:
        infer(slots, [lane(engine)], plan, results, stop_after(3))
    assert log == ["submit 0", "submit 1", "collect 0", "submit 2", "collect 1", "collect 2"]


def test_a_batch_under_way_is_finished_when_the_service_stops(engine: StubEngine) -> None:
    slots, results = FrameSlots(), queue.Queue()
    slots.put(frame("a", 0))
    infer(slots, [lane(engine)], plan, results, stop_after(2))
    assert [r.batch.frames[0].camera for r in drained(results)] == ["a"]


def test_an_engine_that_fails_ends_the_loop_with_its_error(engine: StubEngine) -> None:
    slots = FrameSlots()
    slots.put(frame("a", 0))
    engine.close()  # a closed engine takes no batch
    with pytest.raises(RuntimeError):
        infer(slots, [lane(engine)], plan, queue.Queue(), lambda: False)


def test_detections_arrive_in_source_pixels_with_the_time_of_each_stage(tmp_path: Path) -> None:
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[48:, 64:] = 255  # the quadrant bottom right
    slots, results = FrameSlots(), queue.Queue()
    slots.put(frame("a", 5, picture))
    with OnnxRuntimeEngine(bright_quadrants(tmp_path / "e.onnx", SPEC), SPEC, threads=1) as engine:
        infer(slots, [lane(engine)], plan, results, stop_after(1))
    seen: List[Tuple[Inferred, List[Detections]]] = []
    results.put(None)
    analyse(results, plan, lambda *found: seen.append(found), Progress())
    ((inferred, (detections,)),) = seen
    (taken,) = inferred.batch.frames
    times = inferred.times(taken)
    assert taken.seq == 5
    assert detections.boxes.tolist() == [[64, 48, 128, 96]]
    assert detections.scores.tolist() == [1.0]
    assert detections.classes.tolist() == [3]
    assert times.decode_s == 0.002
    assert min(times.wait_s, times.resize_s, times.infer_s, times.post_s) > 0


def test_a_plan_that_was_replaced_holds_from_the_next_batch_on(engine: StubEngine) -> None:
    slots, results = FrameSlots(), queue.Queue()
    slots.put(frame("a", 0))
    infer(slots, [lane(engine)], plan, results, stop_after(1))
    (inferred,) = drained(results)
    plans = iter([plan(max_objects=3), plan(max_objects=1)])
    for item in (inferred, inferred, None):
        results.put(item)
    counts: List[int] = []
    analyse(results, lambda: next(plans), lambda _, found: counts.append(len(found[0])), Progress())
    assert counts == [3, 1]


def test_both_loops_hold_work_only_while_they_have_some(engine: StubEngine) -> None:
    slots, results, progress = FrameSlots(), queue.Queue(), Progress()
    slots.put(frame("a", 0))
    infer(slots, [lane(engine, progress)], plan, results, stop_after(1))
    assert progress.held_s() == 0
    results.put(None)
    held: List[float] = []

    def sink(*_: object) -> None:
        time.sleep(0.01)
        held.append(progress.held_s())

    analyse(results, plan, sink, progress)
    assert held[0] >= 0.01
    assert progress.held_s() == 0


def test_the_analysis_looks_round_when_no_batch_comes_and_when_many_do(
    engine: StubEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_ROUND_S", 0.02)
    slots, results = FrameSlots(), queue.Queue()
    slots.put(frame("a", 0))
    infer(slots, [lane(engine)], plan, results, stop_after(1))
    (batch,) = drained(results)
    rounds: List[int] = []  # how many batches had come
    seen: List[Inferred] = []

    def look_round() -> None:
        rounds.append(len(seen))
        if len(rounds) == 3:
            for item in [batch] * 10:
                results.put(item)
        if len(rounds) == 6:
            results.put(None)

    def sink(inferred: Inferred, _: List[Detections]) -> None:
        seen.append(inferred)
        time.sleep(0.01)

    analyse(results, plan, sink, Progress(), look_round)
    assert rounds[:3] == [0, 0, 0]
    assert 0 < rounds[4] < 10
    assert len(seen) == 10


def test_an_engine_that_hangs_is_held_work() -> None:
    slots, progress, asked = FrameSlots(), Progress(), threading.Event()
    slots.put(frame("a", 0))
    with _Hanging(asked) as engine:
        loop = threading.Thread(target=infer, args=[slots, [lane(engine, progress)], plan, queue.Queue(), asked.is_set])
        loop.start()
        assert asked.wait(5)
        time.sleep(0.05)
        assert progress.held_s() >= 0.05
        engine.go_on.set()
        loop.join(5)
    assert progress.held_s() == 0


class _Recording(Engine):
    """Notes the order of submissions and collections; one picture a batch."""

    max_batch = 1
    depth = 2

    def __init__(self, log: List[str]) -> None:
        self._log = log
        self._count = 0
        self._stub = StubEngine(SPEC, picture_s=0.0, max_batch=1)

    def slot(self) -> Slot:
        return self._stub.slot()

    def submit(self, slot: Slot, count: int) -> Ticket:
        number, self._count = self._count, self._count + 1
        self._log.append(f"submit {number}")
        return _RecordingTicket(self._stub.submit(slot, count), self._log, number)

    def close(self) -> None:
        self._stub.close()


class _Hanging(_Recording):
    """Takes the first batch and does not come back with it until told to go on."""

    def __init__(self, asked: threading.Event) -> None:
        super().__init__([])
        self._asked = asked
        self.go_on = threading.Event()

    def submit(self, slot: Slot, count: int) -> Ticket:
        self._asked.set()
        self.go_on.wait(10)
        return super().submit(slot, count)


class _RecordingTicket(Ticket):
    def __init__(self, ticket: Ticket, log: List[str], number: int) -> None:
        self._ticket, self._log, self._number = ticket, log, number

    def done(self) -> bool:
        return False  # so the loop has to choose by itself when to collect

    def result(self) -> Candidates:
        self._log.append(f"collect {self._number}")
        return self._ticket.result()
