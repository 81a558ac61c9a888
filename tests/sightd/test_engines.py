"""The contract of every engine, run on each; TensorRT's on a fake GPU, which computes real numbers, and a real one."""

from __future__ import annotations

import atexit
import shutil
from collections import deque
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Callable, Deque, Iterator, List, Tuple

import numpy as np
import onnx
import pytest

from converter.builders.tensorrt import TensorRtBuilder
from sightd.engines import Engine, Ticket, gpu_letterbox
from sightd.engines.onnxruntime import OnnxRuntimeEngine
from sightd.engines.stub import StubEngine
from sightd.engines.tensorrt import TensorRtEngine
from sightd.errors import EngineError
from sightd.manifest import Profile
from sightd.types import InputSpec
from tests.parts.fake_tensorrt import install
from tests.parts.fake_tensorrt_runtime import make_plan
from tests.parts.finished import bright_quadrants
from tests.parts.host_kernel import host_kernels
from tests.parts.tensorrt_settings import tensorrt_settings

SPEC = InputSpec(64, 48, resize="letterbox-topleft")


def _onnxruntime(folder: Path, patch: pytest.MonkeyPatch) -> Engine:
    return OnnxRuntimeEngine(bright_quadrants(folder / "engine.onnx", SPEC), SPEC, threads=2, max_batch=4)


def _stub(folder: Path, patch: pytest.MonkeyPatch) -> Engine:
    return StubEngine(SPEC, picture_s=0.001, max_batch=4)


def _jetpack_5(folder: Path, patch: pytest.MonkeyPatch) -> Engine:
    install(patch)
    return TensorRtEngine(_plan(folder, profiles=3), SPEC, max_batch=4)


def _jetpack_6(folder: Path, patch: pytest.MonkeyPatch) -> Engine:
    install(patch, "10.3.0", integrated=True)
    return TensorRtEngine(_plan(folder, tensorrt="10.3.0"), SPEC, max_batch=4)


def _gpu_letterbox(folder: Path, patch: pytest.MonkeyPatch) -> Engine:
    install(patch).kernels.update(host_kernels())
    patch.setattr(gpu_letterbox, "compile_kernels", lambda source, sm, cuda: b"\x7fELF" + source.encode())
    return TensorRtEngine(_plan(folder, profiles=3), SPEC, max_batch=4, preprocess="gpu")


def _plan(folder: Path, **built: object) -> Path:
    file = folder / "engine.plan"
    file.write_bytes(make_plan(bright_quadrants(folder / "engine.onnx", SPEC).read_bytes(), **built))
    return file


def _real_tensorrt(folder: Path, patch: pytest.MonkeyPatch) -> Engine:
    return TensorRtEngine(_real_plan(), SPEC, max_batch=4)


@lru_cache(maxsize=None)
def _real_plan() -> Path:
    """Built once a session: it takes a while."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    builder = TensorRtBuilder(tensorrt_settings(), Profile(1, 4, 4), folder)
    graph = onnx.load(str(bright_quadrants(folder / "engine.onnx", SPEC)))
    return builder.build_float(graph, "fp32", folder / "engine.plan").file


Make = Callable[[Path, pytest.MonkeyPatch], Engine]
COMPUTING = {
    "onnxruntime": _onnxruntime,
    "tensorrt 8.5": _jetpack_5,
    "tensorrt 10.3, integrated": _jetpack_6,
    "tensorrt 8.5, gpu letterbox": _gpu_letterbox,
    "tensorrt, real": pytest.param(_real_tensorrt, marks=pytest.mark.gpu),
}
EVERY = {**COMPUTING, "stub": _stub}


@pytest.fixture(params=list(EVERY.values()), ids=list(EVERY))
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    make: Make = request.param
    with make(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture(params=list(COMPUTING.values()), ids=list(COMPUTING))
def computing(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Those that look at the pictures."""
    make: Make = request.param
    with make(tmp_path, monkeypatch) as opened:
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


class TestWhatIsComputed:
    @pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
    def test_many_batches_of_any_size_under_way_keep_their_pictures_and_their_order(
        self, computing: Engine, warm: bool
    ) -> None:
        if warm:
            computing.warm_up(picture(77))
        under_way: Deque[Tuple[List[int], Ticket]] = deque()
        for batch, count in enumerate((1, 4, 4, 3, 1, 2, 4, 4, 1, 1, 3, 4) * 2):
            values = [(batch * 31 + index * 60) % 256 for index in range(count)]
            if len(under_way) == computing.depth:
                check(*under_way.popleft())
            slot = computing.slot()
            for index, value in enumerate(values):
                slot.put(index, picture(value))
            under_way.append((values, computing.submit(slot, count)))
        for values, ticket in under_way:
            check(values, ticket)

    def test_tickets_may_be_collected_in_any_order(self, computing: Engine) -> None:
        tickets = []
        for value in range(10, 10 + computing.depth):
            slot = computing.slot()
            slot.put(0, picture(value))
            tickets.append(([value], computing.submit(slot, 1)))
        for values, ticket in reversed(tickets):
            check(values, ticket)

    def test_a_batch_is_done_once_its_result_is_there(self, computing: Engine) -> None:
        slot = computing.slot()
        slot.put(0, picture(9))
        ticket = computing.submit(slot, 1)
        while not ticket.done():
            pass
        check([9], ticket)

    def test_boxes_scores_and_classes_belong_together(self, computing: Engine) -> None:
        image = picture(0)
        image[24:, :32], image[:24, 32:] = 200, 100  # quadrants 2 and 1
        slot = computing.slot()
        slot.put(0, picture(1))
        slot.put(1, image)
        found = computing.submit(slot, 2).result()
        assert found.classes[1, :2].tolist() == [2, 1]
        assert found.boxes[1, :2].tolist() == [[0, 24, 32, 48], [32, 0, 64, 24]]
        assert found.scores[1, :2].tolist() == pytest.approx([200 / 255, 100 / 255], abs=1e-6)

    def test_a_batch_under_way_does_not_see_what_is_put_into_another(self, computing: Engine) -> None:
        first = computing.slot()
        for index in range(4):
            first.put(index, picture(50))
        ticket = computing.submit(first, 4)
        second = computing.slot()
        for index in range(4):
            second.put(index, picture(250))
        check([50] * 4, ticket)
        check([250] * 4, computing.submit(second, 4))


def check(values: List[int], ticket: Ticket) -> None:
    """*ticket* is of pictures of these grey *values*, in this order."""
    best = ticket.result().scores[:, 0]
    assert best.tolist() == pytest.approx([value / 255 for value in values], abs=1e-6)


def test_onnxruntime_says_which_file_it_can_not_load(tmp_path: Path) -> None:
    broken = tmp_path / "engine.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(EngineError, match=r"engine\.onnx.*convert the model again"):
        OnnxRuntimeEngine(broken, SPEC)
