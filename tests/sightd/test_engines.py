"""The contract of every engine, run on each of them; TensorRT's joins this list, the tests stay."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import pytest

from sightd.engines import Engine
from sightd.engines.onnxruntime import OnnxRuntimeEngine
from sightd.engines.stub import StubEngine
from sightd.errors import EngineError
from sightd.types import InputSpec
from tests.parts.finished import bright_quadrants

SPEC = InputSpec(64, 48, resize="letterbox-topleft")


def _onnxruntime(folder: Path) -> Engine:
    return OnnxRuntimeEngine(bright_quadrants(folder / "engine.onnx", SPEC), SPEC, threads=2, max_batch=4)


def _stub(folder: Path) -> Engine:
    return StubEngine(SPEC, picture_s=0.001, max_batch=4)


@pytest.fixture(params=[_onnxruntime, _stub], ids=["onnxruntime", "stub"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    make: Callable[[Path], Engine] = request.param
    with make(tmp_path) as opened:
        yield opened


def picture(value: int = 0) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


class TestEveryEngine:
    def test_returns_one_row_of_candidates_a_picture_with_the_documented_types(self, engine: Engine) -> None:
        for count in range(1, engine.max_batch + 1):
            slot = engine.slot()
            for index in range(count):
                slot.put(index, picture(index))
            found = engine.submit(slot, count).result()
            candidates = found.scores.shape[1]
            assert found.boxes.shape == (count, candidates, 4)
            assert found.classes.shape == (count, candidates)
            assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)
            assert (np.diff(found.scores, axis=1) <= 0).all()

    def test_says_where_a_picture_lies_in_the_input(self, engine: Engine) -> None:
        place = engine.slot().put(0, np.zeros((96, 96, 3), np.uint8))
        assert (place.scale_x, place.scale_y, place.offset_x) == (0.5, 0.5, 0.0)
        assert (place.width, place.height) == (96, 96)

    def test_lends_depth_slots_and_no_more_until_a_result_is_collected(self, engine: Engine) -> None:
        slots = [engine.slot() for _ in range(engine.depth)]
        with pytest.raises(EngineError, match="collect a ticket first"):
            engine.slot()
        slots[0].put(0, picture())
        engine.submit(slots[0], 1).result()
        assert engine.slot() is slots[0]

    def test_works_on_one_batch_while_the_next_is_filled_and_keeps_them_apart(self, engine: Engine) -> None:
        first, second = engine.slot(), engine.slot()
        first.put(0, picture(10))
        ticket = engine.submit(first, 1)
        second.put(0, picture(200))
        second.put(1, picture(200))
        later = engine.submit(second, 2)
        assert len(ticket.result().scores) == 1
        assert len(later.result().scores) == 2

    @pytest.mark.parametrize("count", [0, 5])
    def test_refuses_a_batch_that_it_was_not_built_for(self, engine: Engine, count: int) -> None:
        with pytest.raises(EngineError, match="the engine takes 1 to 4"):
            engine.submit(engine.slot(), count)

    def test_refuses_a_slot_that_it_did_not_lend(self, engine: Engine, tmp_path: Path) -> None:
        slot = engine.slot()
        slot.put(0, picture())
        engine.submit(slot, 1).result()
        with pytest.raises(EngineError, match="not lent"):
            engine.submit(slot, 1)

    def test_results_are_copies_that_later_batches_do_not_touch(self, engine: Engine) -> None:
        slot = engine.slot()
        slot.put(0, picture(10))
        found = engine.submit(slot, 1).result()
        before = found.scores.copy()
        engine.warm_up(picture(255))
        assert np.array_equal(found.scores, before)

    def test_closes_twice_and_with_a_batch_under_way(self, engine: Engine) -> None:
        slot = engine.slot()
        slot.put(0, picture())
        ticket = engine.submit(slot, 1)
        engine.close()
        engine.close()
        assert ticket.done()


def test_onnxruntime_keeps_the_order_of_a_batch_that_its_workers_share(tmp_path: Path) -> None:
    with _onnxruntime(tmp_path) as engine:
        slot = engine.slot()
        for index, value in enumerate((0, 250, 10, 100)):
            slot.put(index, picture(value))
        best = engine.submit(slot, 4).result().scores[:, 0]
    assert best.tolist() == pytest.approx([0, 250 / 255, 10 / 255, 100 / 255], abs=1e-6)


def test_onnxruntime_says_which_file_it_can_not_load(tmp_path: Path) -> None:
    broken = tmp_path / "engine.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(EngineError, match=r"engine\.onnx.*convert the model again"):
        OnnxRuntimeEngine(broken, SPEC)
