"""The two loops, run without threads: a queue holds what would cross them."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

import numpy as np
import pytest

from daemon.pipeline import Inferred, analyse, infer
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


def stop_when_empty(slots: FrameSlots) -> Callable[[], bool]:
    return lambda: slots.oldest_wait_s() == 0


def drained(results: queue.Queue[Optional[Inferred]]) -> List[Inferred]:
    return [results.get_nowait() for _ in range(results.qsize())]


def test_frames_of_several_cameras_share_batches_no_larger_than_the_engine_takes(engine: StubEngine) -> None:
    slots, results = FrameSlots(), queue.Queue()
    for camera in "abc":
        slots.put(frame(camera, 0))
    infer(slots, engine, results, stop_when_empty(slots))
    assert [[f.camera for f in r.batch.frames] for r in drained(results)] == [["a", "b"], ["c"]]


def test_the_next_batch_is_submitted_before_the_last_is_collected() -> None:
    log: List[str] = []
    slots, results = FrameSlots(), queue.Queue()
    for camera in "abc":
        slots.put(frame(camera, 0))
    with _Recording(log) as engine:
        infer(slots, engine, results, stop_when_empty(slots))
    assert log == ["submit 0", "submit 1", "collect 0", "submit 2", "collect 1", "collect 2"]


def test_a_batch_under_way_is_finished_when_the_service_stops(engine: StubEngine) -> None:
    slots, results = FrameSlots(), queue.Queue()
    slots.put(frame("a", 0))
    answers = iter([False, False])
    infer(slots, engine, results, lambda: next(answers, True))
    assert [r.batch.frames[0].camera for r in drained(results)] == ["a"]


def test_an_engine_that_fails_ends_the_loop_with_its_error(engine: StubEngine) -> None:
    slots = FrameSlots()
    slots.put(frame("a", 0))
    engine.close()  # a closed engine takes no batch
    with pytest.raises(RuntimeError):
        infer(slots, engine, queue.Queue(), lambda: False)


def test_detections_arrive_in_source_pixels_with_the_time_of_each_stage(tmp_path: Path) -> None:
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[48:, 64:] = 255  # the quadrant bottom right
    slots, results = FrameSlots(), queue.Queue()
    slots.put(frame("a", 5, picture))
    with OnnxRuntimeEngine(bright_quadrants(tmp_path / "e.onnx", SPEC), SPEC, threads=1) as engine:
        infer(slots, engine, results, stop_when_empty(slots))
    seen: List[Tuple[Inferred, List[Detections]]] = []
    results.put(None)
    analyse(results, 0.5, 0.45, 10, lambda *found: seen.append(found))
    ((inferred, (detections,)),) = seen
    (taken,) = inferred.batch.frames
    times = inferred.times(taken)
    assert taken.seq == 5
    assert detections.boxes.tolist() == [[64, 48, 128, 96]]
    assert detections.scores.tolist() == [1.0]
    assert detections.classes.tolist() == [3]
    assert times.decode_s == 0.002
    assert min(times.wait_s, times.resize_s, times.infer_s, times.post_s) > 0


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


class _RecordingTicket(Ticket):
    def __init__(self, ticket: Ticket, log: List[str], number: int) -> None:
        self._ticket, self._log, self._number = ticket, log, number

    def done(self) -> bool:
        return False  # so the loop has to choose by itself when to collect

    def result(self) -> Candidates:
        self._log.append(f"collect {self._number}")
        return self._ticket.result()
