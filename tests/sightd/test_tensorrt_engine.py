"""The TensorRT engine on a fake GPU that computes real numbers and forgives nothing; real ones are for tests/gpu."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from sightd.engines import EngineOptions, Ticket, cuda_graph, gpu_letterbox, tensorrt
from sightd.engines.tensorrt import TensorRtEngine, load, versions
from sightd.errors import EngineError, EngineMismatch
from sightd.types import InputSpec
from tests.parts import fake_tensorrt_runtime
from tests.parts.fake_cuda import FakeGpu
from tests.parts.fake_tensorrt import install
from tests.parts.fake_tensorrt_runtime import _Context, make_plan
from tests.parts.finished import bright_quadrants
from tests.parts.host_kernel import host_kernels

SPEC = InputSpec(64, 48, resize="letterbox-topleft")
OPTIONS = ["cpu", "gpu", "auto"]


@pytest.fixture
def graph(tmp_path: Path) -> bytes:
    return bright_quadrants(tmp_path / "engine.onnx", SPEC).read_bytes()


@pytest.fixture
def plan(tmp_path: Path, graph: bytes) -> Path:
    """For JetPack 5, as sightd builds it."""
    return written(tmp_path / "engine.plan", graph, profiles=3)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """JetPack 5's TensorRT on a GPU with memory of its own; at the end of the test nothing may be left on it."""
    fake = install(monkeypatch)
    yield fake
    assert_clean(fake)


@pytest.fixture
def compiler(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the GPU's letterbox needs."""
    gpu.kernels.update(host_kernels())
    monkeypatch.setattr(gpu_letterbox, "compile_kernels", lambda source, sm, cuda: b"\x7fELF" + source.encode())


def written(file: Path, graph: bytes, **built: Any) -> Path:
    file.write_bytes(make_plan(graph, **built))
    return file


def assert_clean(gpu: FakeGpu) -> None:
    assert gpu.alive() == {}
    assert gpu.leaks == []  # nothing outlived the CUDA context, be it for a moment
    assert gpu.stack == []


def picture(value: int) -> np.ndarray:
    return np.full((96, 128, 3), value, np.uint8)


def submit(engine: TensorRtEngine, *values: int) -> Ticket:
    slot = engine.slot()
    for index, value in enumerate(values):
        slot.put(index, picture(value))
    return engine.submit(slot, len(values))


def greys(ticket: Ticket) -> List[int]:
    """The grey values of the pictures as the engine saw them."""
    return np.rint(ticket.result().scores[:, 0] * 255).astype(int).tolist()


def refusal(work: Callable[[], Any]) -> str:
    """The EngineError that *work* raises, or "": as text, for the error itself keeps what it has seen."""
    try:
        work()
    except EngineError as error:
        return str(error)
    return ""


class TestOpening:
    @pytest.mark.parametrize(
        ("version", "profiles"),
        [("8.5.2.2", 3), ("8.5.2.2", 4), ("8.6.1", 3), ("10.3.0", 1), ("10.3.0", 3), ("11.4.0", 1)],
    )
    def test_three_batches_may_be_under_way(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graph: bytes, version: str, profiles: int
    ) -> None:
        fake = install(monkeypatch, version)
        with TensorRtEngine(
            written(tmp_path / "e", graph, tensorrt=version, profiles=profiles), SPEC, max_batch=4
        ) as engine:
            assert engine.depth == 3
            tickets = [submit(engine, value, value + 1) for value in (10, 20, 30)]
            assert [greys(ticket) for ticket in tickets] == [[10, 11], [20, 21], [30, 31]]
        assert_clean(fake)

    def test_two_profiles_before_tensorrt_10_are_two_batches(self, gpu: FakeGpu, tmp_path: Path, graph: bytes) -> None:
        with TensorRtEngine(written(tmp_path / "e", graph, profiles=2), SPEC, max_batch=4) as engine:
            assert engine.depth == 2

    def test_one_profile_before_tensorrt_10_is_too_few(self, gpu: FakeGpu, tmp_path: Path, graph: bytes) -> None:
        file = written(tmp_path / "e", graph)
        with pytest.raises(EngineError, match=r"one optimisation profile, .*8\.5\.2\.2 can't work.*sightd builds 3"):
            TensorRtEngine(file, SPEC, max_batch=4)

    def test_a_fixed_batch_needs_no_profiles(self, gpu: FakeGpu, tmp_path: Path, graph: bytes) -> None:
        file = written(tmp_path / "e", with_input(graph, batch=1), profile=(1, 1, 1))
        with TensorRtEngine(file, SPEC, max_batch=1) as engine:
            assert engine.depth == 3
            engine.warm_up(picture(5))
            assert [greys(ticket) for ticket in [submit(engine, value) for value in (7, 8, 9)]] == [[7], [8], [9]]

    @pytest.mark.parametrize("preprocess", OPTIONS)
    def test_an_input_of_floats_is_filled_with_floats(
        self, gpu: FakeGpu, compiler: None, tmp_path: Path, graph: bytes, preprocess: str
    ) -> None:
        file = written(tmp_path / "e", with_input(graph, elem_type=TensorProto.FLOAT), profiles=3)
        with TensorRtEngine(file, SPEC, max_batch=4, preprocess=preprocess) as engine:
            engine.warm_up(picture(5))
            assert greys(submit(engine, 0, 255, 9)) == [0, 255, 9]

    def test_a_batch_smaller_than_the_plans_may_be_asked_for(self, gpu: FakeGpu, plan: Path) -> None:
        with load(plan, SPEC, 2, EngineOptions()) as engine:
            assert engine.max_batch == 2
            assert greys(submit(engine, 1, 2)) == [1, 2]
            with pytest.raises(EngineError, match="the engine takes 1 to 2"):
                engine.submit(engine.slot(), 3)

    @pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
    def test_a_plan_of_another_tensorrt_leaves_nothing_open(
        self, monkeypatch: pytest.MonkeyPatch, plan: Path, version: str
    ) -> None:
        fake = install(monkeypatch, version)
        with pytest.raises(EngineMismatch, match="--rebuild"):
            TensorRtEngine(plan, SPEC, max_batch=4)
        assert_clean(fake)

    def test_another_models_plan_leaves_nothing_open(self, gpu: FakeGpu, plan: Path) -> None:
        with pytest.raises(EngineError, match="its input is"):
            TensorRtEngine(plan, InputSpec(32, 32), max_batch=4)

    def test_too_little_memory_is_told(self, gpu: FakeGpu, plan: Path) -> None:
        gpu.total_bytes = 50_000
        assert "the GPU is out of memory" in refusal(lambda: TensorRtEngine(plan, SPEC, max_batch=4))

    def test_no_execution_context_is_told(self, gpu: FakeGpu, plan: Path) -> None:
        calls = calls_until(gpu, plan, "cuMemAlloc")
        gpu.fail_at(calls + 1)  # the context's memory comes after the input's
        told = refusal(lambda: TensorRtEngine(plan, SPEC, max_batch=4))
        assert "TensorRT has no execution context for slot 1" in told
        assert "OutOfMemory (injected failure)" in told

    @pytest.mark.parametrize(
        ("method", "told"),
        [
            ("set_input_shape", "TensorRT refuses batches of 4: it gave no reason"),
            ("set_tensor_address", "TensorRT refuses the memory of 'images': it gave no reason"),
            ("set_optimization_profile_async", "TensorRT refuses optimisation profile 0: it gave no reason"),
            ("execute_async_v3", "TensorRT failed on a batch of 1: TensorRT refuses a batch of 1: it gave no reason"),
        ],
    )
    def test_what_tensorrt_refuses_is_told(
        self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch, method: str, told: str
    ) -> None:
        monkeypatch.setattr(fake_tensorrt_runtime._Context, method, lambda *given: False)

        def open_and_run() -> None:
            with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
                submit(engine, 1).result()

        assert refusal(open_and_run) == told

    def test_missing_parts_are_told(self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, told in (("pycuda", "pycuda is missing"), ("tensorrt", "TensorRT can't be imported")):
            monkeypatch.setitem(sys.modules, module, None)
            assert told in refusal(lambda: TensorRtEngine(plan, SPEC))
            assert told in refusal(versions)

    def test_a_missing_gpu_is_told(self, gpu: FakeGpu, plan: Path) -> None:
        for work in (lambda: TensorRtEngine(plan, SPEC), versions):
            gpu.fail_at(1)
            assert "no GPU to be used" in refusal(work)

    def test_says_what_engines_here_are_built_for(self, gpu: FakeGpu) -> None:
        assert versions() == {"tensorrt": "8.5.2.2", "cuda": "12.6", "sm": "8.7", "device": "Orin"}


class TestFailuresWhileOpening:
    @pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
    @pytest.mark.parametrize("preprocess", ["cpu", "gpu"])
    def test_whichever_call_fails_the_engine_opens_or_tells_and_nothing_is_left(
        self, monkeypatch: pytest.MonkeyPatch, plan: Path, preprocess: str, integrated: bool
    ) -> None:
        gpu = install(monkeypatch, integrated=integrated)
        gpu.kernels.update(host_kernels())
        monkeypatch.setattr(gpu_letterbox, "compile_kernels", lambda source, sm, cuda: b"\x7fELF" + source.encode())

        def open_and_close() -> None:
            with TensorRtEngine(plan, SPEC, max_batch=4, preprocess=preprocess) as engine:
                assert greys(submit(engine, 3, 4)) == [3, 4]

        open_and_close()
        calls = len(gpu.routines)
        assert calls > 40
        told = []
        for call in range(1, calls + 1):
            gpu.fail_at(call)
            told.append(refusal(open_and_close))
            assert_clean(gpu)
        assert sum(map(bool, told)) > calls - 10  # most can't be done without

    def test_a_failure_is_cleaned_up_before_its_error_is_handled(self, gpu: FakeGpu, plan: Path) -> None:
        """The error's traceback must not keep TensorRT's objects alive beyond the CUDA context."""
        gpu.fail_at(30)
        with pytest.raises(EngineError):
            TensorRtEngine(plan, SPEC, max_batch=4)
        assert_clean(gpu)


class TestBatches:
    @pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
    def test_one_that_fails_is_told_by_its_ticket_and_the_next_ones_work(
        self, gpu: FakeGpu, plan: Path, graphs: bool
    ) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            if graphs:
                engine.warm_up(picture(1))
                assert 4 in engine.graph_batches()
            routines = len(gpu.routines)
            assert greys(submit(engine, 1, 2, 3, 4)) == [1, 2, 3, 4]
            calls = len(gpu.routines) - routines
            for call in range(1, calls + 1):
                before, during = submit(engine, 10, 11), engine.slot()
                for index in range(4):
                    during.put(index, picture(index))
                gpu.fail_at(call)
                ticket = engine.submit(during, 4)
                told = refusal(ticket.result)
                gpu.fail_at(0)
                assert told.startswith("TensorRT failed on a batch of 4: ")
                assert greys(before) == [10, 11]
                # All slots are free again, and none holds anything of the batch that failed.
                tickets = [submit(engine, *[value] * 4) for value in (60, 70, 80)]
                assert [greys(ticket) for ticket in tickets] == [[60] * 4, [70] * 4, [80] * 4]

    def test_one_that_could_not_be_started_is_done_at_once(self, gpu: FakeGpu, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            slot = engine.slot()
            gpu.fail_at(1)
            ticket = engine.submit(slot, 1)
            assert ticket.done()
            assert "injected failure" in refusal(ticket.result)

    def test_what_tensorrt_says_of_a_failure_is_told(self, gpu: FakeGpu, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            greys(submit(engine, 1, 2, 3, 4))
            slot = engine.slot()
            gpu.fail_at(2)  # after the upload
            told = refusal(engine.submit(slot, 4).result)
        assert told.count("Error Code") == 1
        assert "Profile 0 has been chosen" not in told  # said while opening
        assert "TensorRT refuses a batch of 4: 1: [executionContext.cpp" in told

    def test_a_gpu_that_breaks_is_told_by_every_ticket_and_the_engine_closes(self, gpu: FakeGpu, plan: Path) -> None:
        engine = TensorRtEngine(plan, SPEC, max_batch=4)
        tickets = [submit(engine, 1), submit(engine, 2)]
        gpu.settle("the test")
        gpu.break_for_good("an illegal memory access was encountered")
        assert [ticket.done() for ticket in tickets] == [True, True]
        for ticket in tickets:
            assert "illegal memory access" in refusal(ticket.result)
        refusal(engine.close)
        engine.close()

    def test_a_ticket_of_a_closed_engine_is_told(self, gpu: FakeGpu, plan: Path) -> None:
        engine = TensorRtEngine(plan, SPEC, max_batch=4)
        ticket = submit(engine, 1)
        engine.close()
        assert ticket.done()
        assert "the engine is closed" in refusal(ticket.result)


class TestClosing:
    @pytest.mark.parametrize("preprocess", OPTIONS)
    def test_leaves_nothing_whatever_was_done(self, gpu: FakeGpu, compiler: None, plan: Path, preprocess: str) -> None:
        engine = TensorRtEngine(plan, SPEC, max_batch=4, preprocess=preprocess)
        engine.warm_up(picture(1))
        tickets = [submit(engine, 1, 2, 3, 4) for _ in range(3)]
        greys(tickets[0])
        engine.close()
        assert_clean(gpu)
        engine.close()

    def test_waits_for_what_is_under_way(self, gpu: FakeGpu, plan: Path) -> None:
        gpu.delay_s = 0.02
        engine = TensorRtEngine(plan, SPEC, max_batch=4)
        tickets = [submit(engine, 1, 2, 3, 4) for _ in range(3)]
        engine.close()
        assert all(ticket.done() for ticket in tickets)


class TestGraphs:
    def test_are_kept_where_they_are_not_slower_and_find_the_same(self, gpu: FakeGpu, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            assert engine.graph_batches() == [1, 2, 3, 4]
            assert gpu.alive()["graph"] == 4 * engine.depth
            plain = gpu.routines.count("cudaLaunchKernel")
            for values in ([1, 2, 3, 4], [9], [5, 6], [6, 5, 7], [8], [4, 3, 2, 1]):
                before = gpu.routines.count("cuGraphLaunch")
                for _ in range(engine.depth):
                    assert greys(submit(engine, *values)) == values
                assert gpu.routines.count("cuGraphLaunch") - before == engine.depth
            assert gpu.routines.count("cudaLaunchKernel") == plain

    def test_are_for_the_smallest_sizes_and_the_largest(
        self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tensorrt, "_MOST_GRAPHS", 3)
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            assert engine.graph_batches() == [1, 2, 4]
            for values in ([1, 2, 3], [1, 2], [3, 2, 1], [4, 3, 2, 1], [7]):
                assert greys(submit(engine, *values)) == values

    def test_that_hold_only_at_the_size_of_the_last_plain_batch_are_dropped(
        self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        compute = _Context._compute

        def depend_on_the_context(self: Any, name: str, shape: Any, addresses: Any, captured: bool) -> None:
            if not captured or self._flushed == shape:
                compute(self, name, shape, addresses, captured)

        monkeypatch.setattr(_Context, "_compute", depend_on_the_context)
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            assert engine.graph_batches() == []
            for values in ([1, 2, 3], [1], [4, 3, 2, 1]):
                assert greys(submit(engine, *values)) == values
        assert caplog.text.count("computes something else: not used") == 4

    def test_are_tried_once(self, gpu: FakeGpu, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            captured = gpu.routines.count("cuStreamBeginCapture_v2")
            engine.warm_up(picture(1))
            assert gpu.routines.count("cuStreamBeginCapture_v2") == captured
            assert engine.graph_batches() == [1, 2, 3, 4]

    def test_are_dropped_where_they_are_slower(self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        library = cuda_graph._libcuda()
        launch = library.cuGraphLaunch

        def slow_launch(executable: Any, stream: Any) -> int:
            for _ in range(30):  # each is a step on the stream
                gpu.enqueue(stream.value, lambda: None)
            return int(launch(executable, stream))

        monkeypatch.setattr(library, "cuGraphLaunch", slow_launch)
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            assert engine.graph_batches() == []
            assert "graph" not in gpu.alive()
            assert greys(submit(engine, 1, 2, 3, 4)) == [1, 2, 3, 4]

    def test_are_left_away_where_nobody_wants_them(self, gpu: FakeGpu, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4, graphs=False) as engine:
            engine.warm_up(picture(1))
        assert "cuStreamBeginCapture_v2" not in gpu.routines

    @pytest.mark.parametrize("slot", [1, 2, 3])
    @pytest.mark.parametrize("entry", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
    def test_are_left_away_where_they_can_not_be_captured(
        self,
        gpu: FakeGpu,
        plan: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        entry: str,
        slot: int,
    ) -> None:
        fail_from(gpu, monkeypatch, entry, slot)
        with caplog.at_level(logging.INFO), TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            assert 1 not in engine.graph_batches()
            assert "no CUDA graph for batches of 1: CUDA: " in caplog.text
            tickets = [submit(engine, value) for value in (1, 2, 3)]
            assert [greys(ticket) for ticket in tickets] == [[1], [2], [3]]

    def test_that_compute_something_else_are_dropped(
        self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        library = cuda_graph._libcuda()
        monkeypatch.setattr(library, "cuGraphLaunch", lambda executable, stream: 0)  # does nothing
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.warm_up(picture(1))
            assert engine.graph_batches() == []
            assert greys(submit(engine, 1, 2, 3, 4)) == [1, 2, 3, 4]
        assert "computes something else: not used" in caplog.text
        assert gpu.alive() == {}

    @pytest.mark.parametrize("known", [False, True])
    def test_that_are_wrong_only_where_something_is_found_are_dropped_where_a_picture_of_such_is_known(
        self, gpu: FakeGpu, plan: Path, caplog: pytest.LogCaptureFixture, known: bool
    ) -> None:
        gpu.graphs_lose_from = 0.9  # noise scores half as much here
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.known = np.full((48, 64, 3), 250, np.uint8) if known else None
            engine.warm_up(picture(0))
            assert engine.graph_batches() == ([] if known else [1, 2, 3, 4])
            right = [250, 10, 251]
            assert greys(submit(engine, *right)) == (right if known else [0, 10, 0])
        assert caplog.text.count("computes something else: not used") == (4 if known else 0)

    def test_that_are_right_are_kept_on_a_known_picture_too(self, gpu: FakeGpu, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4) as engine:
            engine.known = np.full((48, 64, 3), 250, np.uint8)
            engine.warm_up(picture(0))
            assert engine.graph_batches() == [1, 2, 3, 4]


class TestLetterbox:
    def test_on_the_gpu_finds_the_same(self, gpu: FakeGpu, compiler: None, plan: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
        found: Dict[str, np.ndarray] = {}
        for where in ("cpu", "gpu"):
            with TensorRtEngine(plan, SPEC, max_batch=4, preprocess=where) as engine:
                slot = engine.slot()
                slot.put(0, noise)
                found[where] = engine.submit(slot, 1).result().scores
        assert np.allclose(found["cpu"], found["gpu"], atol=0.005)
        assert "cuLaunchKernel" in gpu.routines

    def test_on_the_gpu_is_an_error_where_it_can_not_be(
        self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gpu_letterbox, "compile_kernels", no_compiler)
        told = refusal(lambda: TensorRtEngine(plan, SPEC, max_batch=4, preprocess="gpu"))
        assert told == "no CUDA compiler: install one"

    def test_is_left_on_the_cpu_where_the_gpu_can_not(
        self, gpu: FakeGpu, plan: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(gpu_letterbox, "compile_kernels", no_compiler)
        with caplog.at_level(logging.INFO), TensorRtEngine(plan, SPEC, max_batch=4, preprocess="auto") as engine:
            engine.warm_up(picture(1))
            engine.warm_up(picture(1))
            assert greys(submit(engine, 1, 2)) == [1, 2]
        assert caplog.text.count("pictures are resized on the CPU: no CUDA compiler: install one") == 1

    def test_is_left_on_the_cpu_where_the_gpu_has_no_memory_for_it(
        self, gpu: FakeGpu, compiler: None, plan: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO), TensorRtEngine(plan, SPEC, max_batch=4, preprocess="auto") as engine:
            gpu.total_bytes = gpu.used_bytes()
            engine.warm_up(picture(1))
            assert "pictures are resized on the CPU: the GPU is out of memory" in caplog.text
            tickets = [submit(engine, value, value) for value in (10, 20, 30)]  # no slot is lost
            assert [greys(ticket) for ticket in tickets] == [[10, 10], [20, 20], [30, 30]]

    @pytest.mark.parametrize("faster", [False, True])
    def test_is_where_it_is_faster(
        self, gpu: FakeGpu, compiler: None, plan: Path, monkeypatch: pytest.MonkeyPatch, faster: bool
    ) -> None:
        monkeypatch.setattr("sightd.engines.letterbox_choice.faster_on_gpu", lambda *given: faster)
        with TensorRtEngine(plan, SPEC, max_batch=4, preprocess="auto") as engine:
            engine.warm_up(picture(1))
            gpu.routines.clear()
            assert greys(submit(engine, 1, 2)) == [1, 2]
            assert ("cuLaunchKernel" in gpu.routines) is faster

    def test_on_the_gpu_runs_out_of_memory_for_one_picture(self, gpu: FakeGpu, compiler: None, plan: Path) -> None:
        with TensorRtEngine(plan, SPEC, max_batch=4, preprocess="gpu") as engine:
            slot = engine.slot()
            gpu.total_bytes = gpu.used_bytes()
            assert "out of memory" in refusal(lambda: slot.put(0, picture(1)))
            gpu.total_bytes = 1 << 30
            slot.put(0, picture(1))
            assert greys(engine.submit(slot, 1)) == [1]


@pytest.mark.parametrize("preprocess", ["cpu", "auto"])
def test_whichever_call_fails_while_warming_up_closing_leaves_nothing(
    gpu: FakeGpu, compiler: None, plan: Path, monkeypatch: pytest.MonkeyPatch, preprocess: str
) -> None:
    gpu.delay_s = 0.0
    monkeypatch.setattr("sightd.engines.tensorrt_slot._ROUNDS", 1)
    monkeypatch.setattr("sightd.engines.letterbox_choice._ROUNDS", 1)
    monkeypatch.setattr(tensorrt, "_DEAREST", float("inf"))  # keep the graphs
    calls = 0
    with TensorRtEngine(plan, SPEC, max_batch=2, preprocess=preprocess) as engine:
        before = len(gpu.routines)
        engine.warm_up(picture(1))
        calls = len(gpu.routines) - before
    for call in range(1, calls + 1, 3):
        engine = TensorRtEngine(plan, SPEC, max_batch=2, preprocess=preprocess)
        gpu.fail_at(call)
        refusal(lambda: engine.warm_up(picture(1)))  # noqa: B023 (called here)
        gpu.fail_at(0)
        engine.close()
        assert_clean(gpu)


def no_compiler(source: str, sm: str, cuda: str) -> bytes:
    raise EngineError("no CUDA compiler: install one")


def fail_from(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, entry: str, call: int) -> None:
    """Let the *call*-th call of libcuda's *entry* fail, and be it over all the same."""
    library = cuda_graph._libcuda()
    real, calls = getattr(library, entry), [0]

    def failing(*args: Any) -> int:
        calls[0] += 1
        if calls[0] == call:
            gpu.fail_at(1)
        return int(real(*args))

    monkeypatch.setattr(library, entry, failing)


def calls_until(gpu: FakeGpu, plan: Path, routine: str) -> int:
    """Driver calls of an opening until *routine* is called, that included."""
    TensorRtEngine(plan, SPEC, max_batch=4).close()
    calls = gpu.routines.index(routine) + 1
    gpu.routines.clear()
    return calls


def with_input(graph: bytes, batch: Optional[int] = None, elem_type: int = TensorProto.UINT8) -> bytes:
    """*graph* with a fixed *batch*, or an input of *elem_type*."""
    model = onnx.load_from_string(graph)
    kind = model.graph.input[0].type.tensor_type
    kind.elem_type = elem_type
    if batch:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    return bytes(model.SerializeToString())
