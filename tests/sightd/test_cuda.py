"""The CUDA facade on a fake GPU (tests/parts/fake_cuda.py): what real ones do with it, tests/gpu shows."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
from typing import Any, Callable, List, Optional

import numpy as np
import pytest

from sightd.engines.cuda import Cuda, Stream
from sightd.errors import EngineError
from tests.parts import fake_cuda
from tests.parts.fake_cuda import FakeGpu
from tests.parts.fake_tensorrt import install

PTX = b".version 7.0 // double_all"


def double_all(gpu: FakeGpu, grid: Any, block: Any, arguments: Any) -> None:
    address, count = arguments
    gpu.read(int(address), int(count))[:] *= 2


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = install(monkeypatch, integrated=request.param)
    fake.kernels["double_all"] = double_all
    yield fake
    assert fake.alive() == {}
    assert fake.leaks == []


class TestMissing:
    def test_nothing_is_loaded_at_import(self) -> None:
        program = "import sightd.engines.cuda, sightd.engines.tensorrt, sys; print([m for m in sys.modules if m[:6] in"
        program += " ('pycuda', 'tensor')])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (ModuleNotFoundError("No module named 'pycuda'"), r"pip install 'sightd\[gpu\]'.*nvcc"),
            (ImportError("libcuda.so.1: cannot open shared object file"), r"libcuda.so.1.*install NVIDIA's driver"),
        ],
    )
    def test_what_is_missing_is_told_with_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, error: ImportError, told: str
    ) -> None:
        real = builtins.__import__

        def without_pycuda(name: str, *args: Any) -> Any:
            if name == "pycuda":
                raise error
            return real(name, *args)

        monkeypatch.setattr(builtins, "__import__", without_pycuda)
        with pytest.raises(EngineError, match=told):
            Cuda()

    def test_no_gpu_is_told(self, gpu: FakeGpu) -> None:
        gpu.fail_at(1, fake_cuda.RuntimeError("cuInit failed: no CUDA-capable device is detected"))
        with pytest.raises(EngineError, match=r"no GPU to be used \(cuInit failed: no CUDA-capable device.*nvidia-smi"):
            Cuda()


class TestContext:
    def test_says_what_gpu_it_is(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda:
            assert (cuda.device, cuda.sm, cuda.version) == ("Orin", "8.7", "12.6")
            assert cuda.integrated is gpu.integrated
            assert cuda.memory() == (gpu.total_bytes, gpu.total_bytes)

    def test_closes_twice(self, gpu: FakeGpu) -> None:
        cuda = Cuda()
        cuda.close()
        cuda.close()

    def test_two_live_side_by_side_on_one_thread(self, gpu: FakeGpu) -> None:
        with Cuda() as first:
            with Cuda() as second, second.buffer(8):
                pass
            with first.buffer(8):
                pass

    def test_another_thread_can_not_use_it(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda:
            assert "invalid device context" in str(on_a_thread(lambda: cuda.buffer(8)))

    @pytest.mark.parametrize("call", range(1, 9))
    def test_a_failure_while_opening_leaves_nothing(self, gpu: FakeGpu, call: int) -> None:
        gpu.fail_at(call)
        with pytest.raises(EngineError):
            Cuda()
        assert gpu.alive() == {}
        assert gpu.stack == []


class TestStreams:
    def test_an_event_is_done_when_what_was_before_it_is(self, gpu: FakeGpu) -> None:
        held = threading.Event()
        with Cuda() as cuda, cuda.stream() as stream, cuda.event() as event:
            assert event.query()
            gpu.enqueue(stream.handle, lambda: held.wait() and None)
            event.record(stream)
            assert not event.query()
            held.set()
            event.synchronize()
            assert event.query()

    def test_two_streams_do_not_wait_for_each_other(self, gpu: FakeGpu) -> None:
        held = threading.Event()
        with Cuda() as cuda, cuda.stream() as slow, cuda.stream() as quick:
            gpu.enqueue(slow.handle, lambda: held.wait() and None)
            quick.synchronize()
            held.set()
            slow.synchronize()

    def test_events_made_for_it_tell_the_time_between_them(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.event(timing=True) as one, cuda.event(timing=True) as two:
            one.record(stream)
            two.record(stream)
            two.synchronize()
            assert two.ms_since(one) >= 0

    def test_other_events_do_not(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.event() as one, cuda.event() as two:
            one.record(stream)
            two.record(stream)
            two.synchronize()
            with pytest.raises(EngineError, match="invalid resource handle"):
                two.ms_since(one)

    def test_an_illegal_access_is_told_by_who_waits_and_from_then_on(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream:
            gpu.enqueue(stream.handle, lambda: gpu.read(1, 1) is None)
            with pytest.raises(EngineError, match="illegal memory access"):
                stream.synchronize()
            with pytest.raises(EngineError, match="illegal memory access"):
                cuda.buffer(8)


class TestMirror:
    def test_goes_up_and_comes_down(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.mirror((2, 3), np.float32) as mirror:
            assert not mirror.array.any()
            mirror.array[:] = 5
            mirror.upload(stream)
            stream.synchronize()
            assert gpu.read(mirror.address, 24).view(np.float32).tolist() == [5] * 6
            gpu.read(mirror.address, 24).view(np.float32)[:] = 7
            mirror.download(stream)
            stream.synchronize()
            assert mirror.array.tolist() == [[7] * 3] * 2

    def test_copies_no_more_than_asked(self, gpu: FakeGpu) -> None:
        if gpu.integrated:
            pytest.skip("nothing is copied")
        with Cuda() as cuda, cuda.stream() as stream, cuda.mirror((8,), np.uint8) as mirror:
            before = gpu.read(mirror.address, 8).tolist()
            mirror.array[:] = 5
            mirror.upload(stream, 3)
            stream.synchronize()
            assert gpu.read(mirror.address, 8).tolist() == [5] * 3 + before[3:]
            mirror.array[:] = 6
            mirror.download(stream, 2)
            stream.synchronize()
            assert mirror.array.tolist() == [5, 5] + [6] * 6

    def test_is_one_memory_where_cpu_and_gpu_share_it(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.mirror((4,), np.uint8) as mirror:
            mirror.upload(stream)
            mirror.download(stream)
            assert any("cuMemcpy" in routine for routine in gpu.routines) is not gpu.integrated
            assert gpu.alive().get("memory", 0) == (0 if gpu.integrated else 1)

    def test_does_not_write_into_freed_memory(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda:
            mirror = cuda.mirror((4,), np.uint8)
            mirror.close()
            mirror.close()
            with pytest.raises(IndexError):
                mirror.array[0] = 1

    @pytest.mark.parametrize("call", [1, 2])
    def test_a_failure_while_it_is_made_leaves_nothing(self, gpu: FakeGpu, call: int) -> None:
        with Cuda() as cuda:
            gpu.fail_at(call)
            with pytest.raises(EngineError, match="injected"):
                cuda.mirror((4,), np.uint8)
            assert gpu.alive() == {"primary": 1}


class TestBuffer:
    def test_takes_an_array(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.buffer(16) as buffer:
            buffer.write(np.arange(4, dtype=np.float32))
            assert gpu.read(buffer.address, 16).view(np.float32).tolist() == [0, 1, 2, 3]

    def test_refuses_what_does_not_fit(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.buffer(15) as buffer, pytest.raises(EngineError, match="16 bytes do not fit"):
            buffer.write(np.arange(4, dtype=np.float32))

    def test_says_what_to_do_when_memory_is_out(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, pytest.raises(EngineError, match=r"out of memory.*smaller batch"):
            cuda.buffer(gpu.total_bytes + 1)

    def test_closes_twice(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.buffer(8) as buffer:
            buffer.close()


class TestKernel:
    def test_runs_on_its_stream(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.mirror((4,), np.uint8) as mirror:
            mirror.array[:] = 21
            with cuda.load_kernel(PTX, "double_all") as kernel:
                mirror.upload(stream)
                kernel.launch(stream, (1, 1, 1), (32, 1, 1), mirror.address, np.int32(3))
                mirror.download(stream)
                stream.synchronize()
            assert mirror.array.tolist() == [42, 42, 42, 21]

    @pytest.mark.parametrize(
        ("image", "name", "told"),
        [(b"garbage", "double_all", "kernel image is invalid"), (PTX, "other", "named symbol not found")],
    )
    def test_says_why_an_image_does_not_load(self, gpu: FakeGpu, image: bytes, name: str, told: str) -> None:
        with Cuda() as cuda, pytest.raises(EngineError, match=told):
            cuda.load_kernel(image, name)

    def test_refuses_a_block_that_no_gpu_takes(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.load_kernel(PTX, "double_all") as kernel:
            wide = (2048, 1, 1)
            with pytest.raises(EngineError, match="invalid argument"):
                kernel.launch(stream, (1, 1, 1), wide)


class TestGraph:
    def test_does_nothing_when_captured_and_all_of_it_at_each_launch(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream:
            done: List[int] = []
            with cuda.capture(stream, lambda: gpu.enqueue(stream.handle, lambda: done.append(1))) as graph:
                stream.synchronize()
                assert done == []
                graph.launch(stream)
                graph.launch(stream)
                stream.synchronize()
                assert done == [1, 1]

    def test_work_that_fails_leaves_the_stream_usable(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream:
            with pytest.raises(ZeroDivisionError):
                cuda.capture(stream, lambda: 1 // 0 and None)
            stream.synchronize()

    def test_work_that_can_not_be_captured_leaves_the_stream_usable(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream:
            with pytest.raises(EngineError, match="operation not permitted when stream is capturing"):
                cuda.capture(stream, lambda: cuda.buffer(8).close())
            with pytest.raises(EngineError, match="cuStreamEndCapture failed with CUresult 901"):
                cuda.capture(stream, lambda: wait_in_vain(stream))
            stream.synchronize()

    @pytest.mark.parametrize("call", [1, 2, 3])
    def test_a_failure_while_it_is_made_leaves_nothing_and_the_stream_usable(self, gpu: FakeGpu, call: int) -> None:
        with Cuda() as cuda, cuda.stream() as stream:
            gpu.fail_at(call)
            with pytest.raises(EngineError, match="CUresult 999"):
                cuda.capture(stream, lambda: None)
            assert gpu.alive() == {"primary": 1, "stream": 1}
            stream.synchronize()

    def test_closes_twice(self, gpu: FakeGpu) -> None:
        with Cuda() as cuda, cuda.stream() as stream, cuda.capture(stream, lambda: None) as graph:
            graph.close()


def wait_in_vain(stream: Stream) -> None:
    """As a library does that swallows the error of a call that can't be captured."""
    with pytest.raises(EngineError):
        stream.synchronize()


def on_a_thread(work: Callable[[], Any]) -> Optional[BaseException]:
    """What *work* raises there."""
    raised: List[BaseException] = []

    def run() -> None:
        try:
            work()
        except EngineError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None
