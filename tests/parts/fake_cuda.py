"""A GPU of host memory: what of `pycuda.driver` and libcuda this project uses, strict where the real ones forgive.

Every stream is a thread that works off its queue in order, with small seeded delays: who reads a result without waiting
reads wrong numbers. Memory that is freed or too short, a thread without a context, an allocation while a stream is
captured: all raise as the driver does, some later and for good (an illegal access breaks the context).
"""

from __future__ import annotations

import math
import queue
import random
import threading
import time
import warnings
from collections import Counter
from types import ModuleType, SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

__all__ = ["FakeGpu", "driver_module", "libcuda"]

#: A kernel's stand-in: (gpu, grid, block, arguments as NumPy scalars) at its turn on the stream.
Kernel = Callable[["FakeGpu", Tuple[int, ...], Tuple[int, ...], Tuple[Any, ...]], None]

_WAIT_S = 30.0
_MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP
_DISABLE_TIMING = 2


class Error(Exception):
    """As pycuda names them; a test may raise them through :meth:`FakeGpu.fail_at`."""


class MemoryError(Error):  # noqa: A001 (pycuda's name)
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):  # noqa: A001 (pycuda's name)
    pass


class FakeGpu:
    """One GPU: its memory, its streams, and what a test wants to know or to break."""

    def __init__(
        self,
        *,
        sm: Tuple[int, int] = (8, 7),
        device: str = "Orin",
        integrated: bool = False,
        driver_version: int = 12060,
        total_bytes: int = 1 << 30,
        delay_s: float = 0.0005,
    ) -> None:
        self.sm, self.device, self.integrated, self.driver_version = sm, device, integrated, driver_version
        self.total_bytes, self.delay_s = total_bytes, delay_s
        #: Kernels by name, for module_from_buffer.
        self.kernels: Dict[str, Kernel] = {}
        #: Graphs lose what scores as much as this, and compute everything else as plain work does.
        self.graphs_lose_from = math.inf
        #: What is alive, by kind: "memory", "pinned", "stream", "event", "module", "graph", "primary"; TensorRT's too.
        self.live: Counter[str] = Counter()
        #: What was alive when the primary context went.
        self.leaks: List[Dict[str, int]] = []
        #: Names of the driver's routines that were called, in order.
        self.routines: List[str] = []
        self._fail_at: Optional[int] = None
        self._fail_in: Optional[str] = None
        self._failure: Error = LogicError("unset")
        self._broken: Optional[str] = None
        #: Page-locked host memory: address -> bytes.
        self.pinned: Dict[int, int] = {}
        self._memory: Dict[int, np.ndarray] = {}
        self._next_address = 0x7_0000_0000
        self._workers: Dict[int, _Worker] = {}
        self._graphs: Dict[int, List[Callable[[], None]]] = {}
        self._next_handle = 0x1000
        self._lock = threading.RLock()
        self._thread = threading.local()

    def fail_at(self, call: int, error: Optional[Error] = None) -> None:
        """Let the *call*-th driver call from now on (1 is the next) raise *error*, once."""
        self._fail_at = len(self.routines) + call
        self._failure = error or LogicError("injected failure")

    def fail_in(self, routine: str, error: Optional[Error] = None) -> None:
        """Let the next call of *routine* raise *error*, once; the names are those in ``routines``."""
        self._fail_in = routine
        self._failure = error or LogicError("injected failure")

    def alive(self) -> Dict[str, int]:
        """What is not freed, by kind; empty when all is."""
        return {kind: count for kind, count in self.live.items() if count}

    def read(self, address: int, nbytes: int) -> np.ndarray:
        """The *nbytes* of device memory at *address* as a writable view of uint8.

        :raises LogicError: they are not (all) in one live allocation.
        """
        with self._lock:
            for base, memory in self._memory.items():
                if base <= address and address + nbytes <= base + len(memory):
                    return memory[address - base : address - base + nbytes]
        raise LogicError("an illegal memory access was encountered")

    def enqueue(self, stream_handle: int, work: Callable[[], None]) -> None:
        """Put *work* on a stream: it runs at its turn, or goes into the graph that is being captured.

        :raises LogicError: there is no such stream.
        """
        worker = self._workers.get(stream_handle)
        if worker is None:
            raise LogicError("cuStream failed: invalid resource handle")
        worker.put(work)

    def capturing(self, stream_handle: int) -> bool:
        """Whether the stream is being captured."""
        return self._workers[stream_handle].captured is not None

    # What the driver's look-alike below calls.

    def call(self, routine: str, *, context: bool = True) -> None:
        self.routines.append(routine)
        if self._fail_at == len(self.routines) or self._fail_in == routine:
            self._fail_at = self._fail_in = None
            raise type(self._failure)(*self._failure.args)  # one of its own, whose traceback nobody keeps
        if self._broken is not None:
            raise LogicError(f"{routine} failed: {self._broken}")
        if context and not self.stack:
            raise LogicError(f"{routine} failed: invalid device context")

    @property
    def stack(self) -> List[Any]:
        if not hasattr(self._thread, "stack"):
            self._thread.stack = []
        stack: List[Any] = self._thread.stack
        return stack

    def refuse_in_capture(self, routine: str) -> None:
        mine = threading.get_ident()
        for worker in list(self._workers.values()):
            if worker.captured is not None and worker.captured_by == mine:
                worker.invalid = True
                raise LogicError(f"{routine} failed: operation not permitted when stream is capturing")

    def add_memory(self, memory: np.ndarray) -> int:
        with self._lock:
            address = self._next_address
            self._next_address += -(-len(memory) // 512) * 512 + 4096  # a gap, so that an overrun hits nothing
            self._memory[address] = memory
        return address

    def remove_memory(self, address: int) -> None:
        with self._lock:
            self._memory.pop(address).fill(0xDD)

    def used_bytes(self) -> int:
        return sum(len(memory) for memory in self._memory.values())

    def new_handle(self) -> int:
        with self._lock:
            self._next_handle += 16
            return self._next_handle

    def add_worker(self) -> int:
        handle = self.new_handle()
        self._workers[handle] = _Worker(self, handle)
        return handle

    def remove_worker(self, handle: int) -> None:
        self._workers.pop(handle).stop()

    def worker(self, handle: int) -> _Worker:
        return self._workers[handle]

    def is_pinned(self, memory: np.ndarray) -> bool:
        start = memory.ctypes.data
        return any(base <= start and start + len(memory) <= base + size for base, size in list(self.pinned.items()))

    def settle(self, routine: str) -> None:
        """Wait for all streams, as the legacy default stream does."""
        for worker in list(self._workers.values()):
            worker.wait(routine)

    def break_for_good(self, reason: str) -> None:
        self._broken = reason

    def add_graph(self, work: List[Callable[[], None]]) -> int:
        handle = self.new_handle()
        self._graphs[handle] = work
        self.live["graph"] += 1
        return handle

    def graph(self, handle: Optional[int]) -> Optional[List[Callable[[], None]]]:
        return self._graphs.get(handle or 0)

    def remove_graph(self, handle: int) -> None:
        del self._graphs[handle]
        self.live["graph"] -= 1


class _Worker:
    """The thread of one stream."""

    def __init__(self, gpu: FakeGpu, handle: int) -> None:
        self.captured: Optional[List[Callable[[], None]]] = None
        self.captured_by = 0
        self.invalid = False
        self._gpu = gpu
        self._random = random.Random(handle)
        self._queue: queue.SimpleQueue[Optional[Callable[[], None]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"fake-stream-{handle:x}", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], None]) -> None:
        if self.captured is None:
            self._queue.put(work)
        else:
            self.captured.append(work)

    def stop(self) -> None:
        self._queue.put(None)  # what is queued is done first, as cuStreamDestroy has it
        self._thread.join(_WAIT_S)

    def wait(self, routine: str) -> None:
        if self.captured is not None:
            self.invalid = True
            raise LogicError(f"{routine} failed: operation not permitted when stream is capturing")
        reached = threading.Event()
        self._queue.put(reached.set)
        if not reached.wait(_WAIT_S):
            raise LaunchError(f"{routine} failed: the fake stream hangs")

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            if work is None:
                return
            time.sleep(self._random.random() * self._gpu.delay_s)
            try:
                work()
            except Exception as error:  # whatever a kernel does wrong breaks the context, as on a GPU
                self._gpu.break_for_good(str(error))
            del work  # and what it holds


def driver_module(gpu: FakeGpu) -> ModuleType:
    """What stands for `pycuda.driver` of *gpu*."""
    module = ModuleType("pycuda.driver")
    for name, value in {**_classes(gpu), **_functions(gpu)}.items():
        setattr(module, name, value)
    for error in (Error, MemoryError, LogicError, LaunchError, RuntimeError):
        setattr(module, error.__name__, error)
    return module


def _native(method: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose failure keeps nothing alive, as of C++: no frame of a traceback holds its arguments."""

    def call(*args: Any, **named: Any) -> Any:
        try:
            return method(*args, **named)
        except Error as error:
            failure = type(error)(*error.args)
        del args, named
        raise failure

    return call


class _Owned:
    """An object of the context that was current when it was made; freed on the thread of that context."""

    kind: str
    routine: str

    def __init__(self, gpu: FakeGpu) -> None:
        gpu.call(self.routine)
        self._gpu, self._context, self._thread = gpu, gpu.stack[-1], threading.get_ident()
        self._valid = True
        gpu.live[self.kind] += 1

    def _release(self) -> None:
        self._valid = False
        self._gpu.live[self.kind] -= 1
        if self._context.valid and threading.get_ident() != self._thread:
            warnings.warn(f"{self.kind} in out-of-thread context could not be cleaned up", UserWarning, stacklevel=2)

    def free(self) -> None:
        if not self._valid:
            raise LogicError(f"{self.kind}::free failed: invalid resource handle")
        self._gpu.refuse_in_capture("cuMemFree")
        self._release()

    def __del__(self) -> None:
        if getattr(self, "_valid", False):
            self._release()


def _classes(gpu: FakeGpu) -> Dict[str, Any]:
    class Context:
        def __init__(self) -> None:
            gpu.call("cuDevicePrimaryCtxRetain", context=False)
            self.valid = True
            gpu.live["primary"] += 1

        def push(self) -> None:
            gpu.call("cuCtxPushCurrent", context=False)
            gpu.stack.append(self)

        @staticmethod
        def pop() -> None:
            if not gpu.stack:
                raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
            gpu.stack.pop()

        @staticmethod
        def synchronize() -> None:
            gpu.call("cuCtxSynchronize")

        def detach(self) -> None:
            if not self.valid:
                raise LogicError("context::detach failed: invalid device context - cannot detach from invalid context")
            self.valid = False
            gpu.live["primary"] -= 1
            if gpu.live["primary"] == 0 and gpu.alive():
                gpu.leaks.append(gpu.alive())

        def __del__(self) -> None:
            if getattr(self, "valid", False):
                self.detach()

    class Device:
        def __init__(self, index: int) -> None:
            gpu.call("cuDeviceGet", context=False)
            if index != 0:
                raise LogicError("cuDeviceGet failed: invalid device ordinal")

        def retain_primary_context(self) -> Context:
            return Context()

        def name(self) -> str:
            gpu.call("cuDeviceGetName", context=False)
            return gpu.device

        def compute_capability(self) -> Tuple[int, int]:
            gpu.call("cuDeviceComputeCapability", context=False)
            return gpu.sm

        def get_attribute(self, attribute: str) -> int:
            gpu.call("cuDeviceGetAttribute", context=False)
            return {"INTEGRATED": int(gpu.integrated)}[attribute]

        def total_memory(self) -> int:
            return gpu.total_bytes

    class Stream(_Owned):
        kind, routine = "stream", "cuStreamCreate"

        def __init__(self, flags: int = 0) -> None:
            super().__init__(gpu)
            self.handle = gpu.add_worker()

        @_native
        def synchronize(self) -> None:
            gpu.call("cuStreamSynchronize")
            gpu.worker(self.handle).wait("cuStreamSynchronize")
            gpu.call("cuStreamSynchronize")  # what went wrong meanwhile is told here

        @_native
        def wait_for_event(self, event: Event) -> None:
            gpu.call("cuStreamWaitEvent")
            mark = event.mark
            if mark is not None:
                gpu.enqueue(self.handle, lambda: _reached(mark))

        def _release(self) -> None:
            super()._release()
            gpu.remove_worker(self.handle)

        free = None  # pycuda's has none

    class Event(_Owned):
        kind, routine = "event", "cuEventCreate"

        def __init__(self, flags: int = 0) -> None:
            super().__init__(gpu)
            self.mark: Optional[threading.Event] = None
            self._timed = not flags & _DISABLE_TIMING
            self._at = [0.0]

        @_native
        def record(self, stream: Optional[Stream] = None) -> Event:
            gpu.call("cuEventRecord")
            assert stream is not None, "this project names its streams"
            self.mark, self._at = mark, at = threading.Event(), [0.0]

            def reached() -> None:
                at[0] = time.perf_counter()
                mark.set()

            gpu.enqueue(stream.handle, reached)
            return self

        @_native
        def query(self) -> bool:
            gpu.call("cuEventQuery")
            return self.mark is None or self.mark.is_set()

        @_native
        def synchronize(self) -> Event:
            gpu.call("cuEventSynchronize")
            if self.mark is not None:
                _reached(self.mark)
            gpu.call("cuEventSynchronize")  # what went wrong meanwhile is told here
            return self

        @_native
        def time_since(self, start: Event) -> float:
            gpu.call("cuEventElapsedTime")
            for event in (self, start):
                if event.mark is None or not event._timed:
                    raise LogicError("cuEventElapsedTime failed: invalid resource handle")
                if not event.mark.is_set():
                    raise RuntimeError("cuEventElapsedTime failed: device not ready")
            return (self._at[0] - start._at[0]) * 1000

        free = None  # pycuda's has none

    return {
        "Context": Context,
        "Device": Device,
        "Stream": Stream,
        "Event": Event,
        "event_flags": SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=1, DISABLE_TIMING=_DISABLE_TIMING),
        "host_alloc_flags": SimpleNamespace(PORTABLE=1, DEVICEMAP=_MAPPED, WRITECOMBINED=4),
        "device_attribute": SimpleNamespace(INTEGRATED="INTEGRATED"),
        **_memory_classes(gpu),
    }


def _reached(mark: threading.Event) -> None:
    if not mark.wait(_WAIT_S):
        raise LaunchError("cuEventSynchronize failed: the fake stream hangs")


def _memory_classes(gpu: FakeGpu) -> Dict[str, Any]:
    class DeviceAllocation(_Owned):
        kind, routine = "memory", "cuMemAlloc"

        def __init__(self, nbytes: int) -> None:
            gpu.refuse_in_capture("cuMemAlloc")
            if gpu.used_bytes() + nbytes > gpu.total_bytes:
                raise MemoryError("cuMemAlloc failed: out of memory")
            super().__init__(gpu)
            self._address = gpu.add_memory(np.full(nbytes, 0xCD, np.uint8))

        def __int__(self) -> int:
            return self._address

        __index__ = __int__

        def _release(self) -> None:
            super()._release()
            gpu.remove_memory(self._address)

    class PagelockedHostAllocation(_Owned):
        kind, routine = "pinned", "cuMemHostAlloc"

        def __init__(self, shape: Tuple[int, ...], dtype: np.dtype[Any], flags: int) -> None:
            gpu.refuse_in_capture("cuMemHostAlloc")
            super().__init__(gpu)
            self._memory = np.full(max(1, int(np.prod(shape)) * dtype.itemsize), 0xCD, np.uint8)
            self._mapped = gpu.add_memory(self._memory) if flags & _MAPPED else None
            start = self._memory.ctypes.data
            gpu.pinned[start] = len(self._memory)
            #: Makes this the array's base, as pycuda does.
            self.__array_interface__ = {"data": (start, False), "shape": shape, "typestr": dtype.str, "version": 3}

        def get_device_pointer(self) -> int:
            gpu.call("cuMemHostGetDevicePointer")
            if self._mapped is None:
                raise LogicError("cuMemHostGetDevicePointer failed: invalid argument")
            return self._mapped

        def _release(self) -> None:
            super()._release()
            if self._mapped is not None:
                gpu.remove_memory(self._mapped)
            del gpu.pinned[self._memory.ctypes.data]
            self._memory.fill(0xDD)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        return np.asarray(PagelockedHostAllocation(sizes, np.dtype(dtype), mem_flags))

    return {
        "DeviceAllocation": DeviceAllocation,
        "PagelockedHostAllocation": PagelockedHostAllocation,
        "HostAllocation": PagelockedHostAllocation,
        "pagelocked_empty": pagelocked_empty,
        "mem_alloc": DeviceAllocation,
    }


def _bytes(array: Any) -> np.ndarray:
    """The memory of a contiguous array, as pycuda's buffer protocol takes it."""
    whole = np.asarray(array)
    if not whole.flags.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    return whole.reshape(-1).view(np.uint8)


def _functions(gpu: FakeGpu) -> Dict[str, Any]:
    def init(flags: int = 0) -> None:
        gpu.call("cuInit", context=False)

    def get_driver_version() -> int:
        gpu.call("cuDriverGetVersion", context=False)
        return gpu.driver_version

    def mem_get_info() -> Tuple[int, int]:
        gpu.call("cuMemGetInfo")
        return gpu.total_bytes - gpu.used_bytes(), gpu.total_bytes

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        gpu.call("cuMemcpyHtoDAsync")
        source, address = _bytes(src), int(dest)
        gpu.read(address, len(source))
        if not gpu.is_pinned(source):
            source = source.copy()  # staged by the driver before it returns

        def copy() -> None:
            gpu.read(address, len(source))[:] = source

        gpu.enqueue(stream.handle, copy)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        gpu.call("cuMemcpyDtoHAsync")
        target, address = _bytes(dest), int(src)
        gpu.read(address, len(target))

        def copy() -> None:
            target[:] = gpu.read(address, len(target))

        gpu.enqueue(stream.handle, copy)
        if not gpu.is_pinned(target):
            gpu.worker(stream.handle).wait("cuMemcpyDtoHAsync")

    def memcpy_htod(dest: Any, src: Any) -> None:
        gpu.call("cuMemcpyHtoD")
        gpu.settle("cuMemcpyHtoD")
        source = _bytes(src)
        gpu.read(int(dest), len(source))[:] = source

    def memcpy_dtoh(dest: Any, src: Any) -> None:
        gpu.call("cuMemcpyDtoH")
        gpu.settle("cuMemcpyDtoH")
        target = _bytes(dest)
        target[:] = gpu.read(int(src), len(target))

    copies = (memcpy_htod_async, memcpy_dtoh_async, memcpy_htod, memcpy_dtoh)
    others = (init, get_driver_version, mem_get_info, _module_from_buffer(gpu))
    return {function.__name__: _native(function) for function in (*copies, *others)}


def _module_from_buffer(gpu: FakeGpu) -> Any:
    class Function:
        def __init__(self, module: Any, name: str) -> None:
            self._module, self._name = module, name  # a function keeps its module

        @_native
        def __call__(
            self, *args: Any, grid: Any = (1, 1), block: Any = None, stream: Any = None, shared: int = 0
        ) -> None:
            gpu.call("cuLaunchKernel")
            for place, value in enumerate(args):
                if not isinstance(value, np.number):
                    raise TypeError(f"invalid type on parameter #{place} (0-based)")
            if block is None or not 1 <= int(np.prod(block)) <= 1024 or min(grid) < 1:
                raise LogicError("cuLaunchKernel failed: invalid argument")
            work = gpu.kernels[self._name]
            gpu.enqueue(stream.handle, lambda: work(gpu, tuple(grid), tuple(block), args))

    class Module(_Owned):
        kind, routine = "module", "cuModuleLoadDataEx"

        def __init__(self, image: bytes) -> None:
            if not (image.startswith(b"\x7fELF") or b".version" in image[:4096]):
                raise LogicError("cuModuleLoadDataEx failed: device kernel image is invalid - ")
            super().__init__(gpu)
            self._image = bytes(image)

        @_native
        def get_function(self, name: str) -> Function:
            try:
                gpu.call("cuModuleGetFunction")
                if name not in gpu.kernels or name.encode() not in self._image:
                    raise LogicError("cuModuleGetFunction failed: named symbol not found")
                return Function(self, name)
            except Error:
                del self  # C++ leaves no frame in the traceback that would keep it
                raise

        free = None  # pycuda's has none

    def module_from_buffer(buffer: bytes, options: Any = (), message_handler: Any = None) -> Module:
        return Module(buffer)

    return module_from_buffer


def libcuda(gpu: FakeGpu) -> Any:
    """What stands for libcuda.so.1: the graphs' entry points, with ctypes arguments and CUresult as the real ones."""

    def begin(stream: Any, mode: int) -> int:
        worker = gpu.worker(stream.value)
        worker.captured, worker.captured_by, worker.invalid = [], threading.get_ident(), False
        return 0

    def end(stream: Any, graph: Any) -> int:
        worker = gpu.worker(stream.value)
        captured, worker.captured = worker.captured, None
        try:
            gpu.call("cuStreamEndCapture")
        except Error:
            return 999  # CUDA_ERROR_UNKNOWN; the capture is over all the same
        if captured is None or worker.invalid:
            return 901  # CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        graph._obj.value = gpu.add_graph(captured)
        return 0

    def instantiate(executable: Any, graph: Any, flags: Any) -> int:
        executable._obj.value = gpu.add_graph(list(gpu.graph(graph.value) or []))
        return 0

    def launch(executable: Any, stream: Any) -> int:
        work = gpu.graph(executable.value)
        if work is None:
            return 400  # CUDA_ERROR_INVALID_HANDLE
        gpu.enqueue(stream.value, lambda: [step() for step in work] and None)
        return 0

    def destroy(graph: Any) -> int:
        gpu.remove_graph(graph.value)
        return 0

    def counted(name: str, function: Callable[..., int]) -> Callable[..., int]:
        def call(*args: Any) -> int:
            try:
                gpu.call(name)
            except Error:
                return 999  # CUDA_ERROR_UNKNOWN
            return function(*args)

        return call

    entries = {
        "cuStreamBeginCapture_v2": begin,
        "cuGraphInstantiateWithFlags": instantiate,
        "cuGraphLaunch": launch,
    }
    return SimpleNamespace(
        **{name: counted(name, function) for name, function in entries.items()},
        cuStreamEndCapture=end,
        cuGraphDestroy=destroy,
        cuGraphExecDestroy=destroy,
    )
