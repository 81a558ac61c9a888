"""The parts of a GPU that :class:`sightd.engines.cuda.Cuda` makes: streams, events, memory and kernels."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Iterator, Optional, Tuple, Type, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError

__all__ = ["Buffer", "Event", "Kernel", "Mirror", "Part", "Stream", "cuda_errors"]

P = TypeVar("P", bound="Part")


class Part:
    """Something of the GPU's that is freed by close(), once and idempotently, or at the end of a with block."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self: P) -> P:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()


class Stream(Part):
    """A queue of work on the GPU."""

    def __init__(self, driver: Any, raw: Any) -> None:
        self._driver, self.raw = driver, raw
        #: The CUstream as an integer, as TensorRT and the driver take it.
        self.handle: int = raw.handle

    def synchronize(self) -> None:
        """Wait for everything on it."""
        with cuda_errors(self._driver):
            self.raw.synchronize()

    def close(self) -> None:
        self.raw = None  # pycuda destroys it with its last reference


class Event(Part):
    """A mark on a stream."""

    def __init__(self, driver: Any, raw: Any) -> None:
        self._driver, self._raw = driver, raw

    def record(self, stream: Stream) -> None:
        """Mark what is on *stream* now; a mark before that is forgotten."""
        with cuda_errors(self._driver):
            self._raw.record(stream.raw)

    def query(self) -> bool:
        """Whether all before the mark is done; True without a mark."""
        with cuda_errors(self._driver):
            return bool(self._raw.query())

    def synchronize(self) -> None:
        """Wait until all before the mark is done."""
        with cuda_errors(self._driver):
            self._raw.synchronize()

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds of GPU time from *earlier*'s mark to this one; both done and made with timing."""
        with cuda_errors(self._driver):
            return float(self._raw.time_since(earlier._raw))

    def close(self) -> None:
        self._raw = None  # as a stream


class Mirror(Part):
    """An array in pinned host memory and its twin on the GPU; on an integrated GPU one memory for both."""

    def __init__(self, driver: Any, shape: Tuple[int, ...], dtype: np.dtype[Any], *, mapped: bool) -> None:
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        self._driver, self._device = driver, None
        with ExitStack() as undo, cuda_errors(driver):
            #: The host's side.
            self.array: NDArray[Any] = driver.pagelocked_empty(shape, dtype, mem_flags=flags)
            undo.callback(self.close)
            self.array.fill(0)
            if not mapped:
                self._device = driver.mem_alloc(self.array.nbytes)
            #: The GPU's side.
            self.address = int(self.array.base.get_device_pointer() if self._device is None else self._device)
            undo.pop_all()

    def upload(self, stream: Stream, nbytes: Optional[int] = None) -> None:
        """Put the copy of the first *nbytes* (all of them) to the GPU on *stream*."""
        if self._device is not None:
            with cuda_errors(self._driver):
                self._driver.memcpy_htod_async(self.address, self._bytes(nbytes), stream.raw)

    def download(self, stream: Stream, nbytes: Optional[int] = None) -> None:
        """Put the copy of the first *nbytes* (all of them) from the GPU on *stream*."""
        if self._device is not None:
            with cuda_errors(self._driver):
                self._driver.memcpy_dtoh_async(self._bytes(nbytes), self.address, stream.raw)

    def close(self) -> None:
        """Free both sides; nothing on a stream may need them any more, and views of ``array`` are void."""
        allocation: Any = self.array.base
        device = self._device
        self.array, self._device = self.array[:0].copy(), None
        with cuda_errors(self._driver):
            for owner in (device, allocation):
                if owner is not None:
                    owner.free()

    def _bytes(self, nbytes: Optional[int]) -> NDArray[np.uint8]:
        whole: NDArray[np.uint8] = self.array.reshape(-1).view(np.uint8)
        return whole[:nbytes]


class Buffer(Part):
    """Device memory with nothing on the host's side."""

    def __init__(self, driver: Any, nbytes: int) -> None:
        self._driver, self.nbytes = driver, nbytes
        with cuda_errors(driver):
            self._device = driver.mem_alloc(nbytes)
        self.address = int(self._device)

    def write(self, array: NDArray[Any]) -> None:
        """Copy a contiguous *array* to its beginning, and wait for it.

        :raises EngineError: it does not fit.
        """
        if array.nbytes > self.nbytes:
            raise EngineError(f"{array.nbytes} bytes do not fit into a GPU buffer of {self.nbytes}")
        with cuda_errors(self._driver):
            self._driver.memcpy_htod(self.address, array)

    def close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            with cuda_errors(self._driver):
                device.free()


class Kernel(Part):
    """A function that runs on the GPU."""

    def __init__(self, driver: Any, function: Any) -> None:
        self._driver, self._function = driver, function

    def launch(self, stream: Stream, grid: Tuple[int, int, int], block: Tuple[int, int, int], *args: Any) -> None:
        """Put it on *stream*.

        :param args: a pointer as int (an address), every other parameter as a NumPy scalar of its type.
        """
        values = [np.uintp(value) if isinstance(value, int) else value for value in args]
        with cuda_errors(self._driver):
            self._function(*values, grid=grid, block=block, stream=stream.raw)

    def close(self) -> None:
        self._function = None  # the module goes with it


@contextmanager
def cuda_errors(driver: Any) -> Iterator[None]:
    """What pycuda raises, as EngineError."""
    try:
        yield
    except driver.MemoryError as error:
        raise EngineError(
            f"the GPU is out of memory ({error}): close other programs or take a smaller batch"
        ) from error
    except driver.Error as error:
        raise EngineError(f"CUDA: {error}") from error
