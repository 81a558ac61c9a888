"""CUDA through pycuda, of which this is the only importer: one GPU's context, streams, events, memory and kernels.

Life, all on one thread; a part is closed before the :class:`Cuda` that made it::

    with Cuda() as cuda, cuda.stream() as stream, cuda.mirror((4, 8), np.float32) as pictures:
        pictures.array[:] = 1          # pinned host memory
        pictures.upload(stream)        # returns at once
        ...                            # a kernel or TensorRT reads pictures.address
        stream.synchronize()

Every failure is an EngineError. A call from a thread that did not open the context is one, too.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Callable, Sequence, Tuple

import numpy as np
from numpy.typing import DTypeLike

from ..errors import EngineError
from .cuda_graph import Graph, capture
from .cuda_parts import Buffer, Event, Kernel, Mirror, Part, Stream, cuda_errors

__all__ = ["Buffer", "Cuda", "Event", "Graph", "Kernel", "Mirror", "Stream"]


class Cuda(Part):
    """The primary context of the first GPU, current on the opening thread until it is closed there."""

    #: CPU and GPU share the memory, as on a Jetson: mirrors are not copied.
    integrated: bool
    #: As the driver has it: "Orin", "NVIDIA GeForce RTX 3060".
    device: str
    #: Compute capability: "8.7".
    sm: str
    #: The newest CUDA that the driver serves: "12.6".
    version: str

    def __init__(self) -> None:
        """:raises EngineError: pycuda, the driver or the GPU is missing; says what to install."""
        self._driver = driver = _pycuda()
        with ExitStack() as undo:
            device = _first_device(driver)
            with cuda_errors(driver):
                context = device.retain_primary_context()
                undo.callback(context.detach)
                context.push()
                undo.callback(driver.Context.pop)
                self.integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
                self.device = device.name()
                self.sm = "{}.{}".format(*device.compute_capability())
                number = driver.get_driver_version()
            self.version = f"{number // 1000}.{number % 1000 // 10}"
            self._closing = undo.pop_all()

    def close(self) -> None:
        with cuda_errors(self._driver):
            self._closing.close()

    def stream(self) -> Stream:
        """A new stream: what is put on it runs in order, beside what other streams run."""
        with cuda_errors(self._driver):
            return Stream(self._driver, self._driver.Stream())

    def event(self, *, timing: bool = False) -> Event:
        """A new event. Waiting for it sleeps rather than spins, so that a core stays free.

        :param timing: whether :meth:`Event.ms_since` will be asked.
        """
        flags = self._driver.event_flags.BLOCKING_SYNC
        if not timing:
            flags |= self._driver.event_flags.DISABLE_TIMING
        with cuda_errors(self._driver):
            return Event(self._driver, self._driver.Event(flags))

    def mirror(self, shape: Sequence[int], dtype: DTypeLike) -> Mirror:
        """An array on both sides, zeros on the host's."""
        return Mirror(self._driver, tuple(shape), np.dtype(dtype), mapped=self.integrated)

    def buffer(self, nbytes: int) -> Buffer:
        """*nbytes* of uninitialised device memory."""
        return Buffer(self._driver, nbytes)

    def load_kernel(self, image: bytes, name: str) -> Kernel:
        """The kernel *name* (extern "C") of a cubin or PTX image.

        :raises EngineError: the image is not for this GPU, or has no such kernel.
        """
        with cuda_errors(self._driver):
            return Kernel(self._driver, self._driver.module_from_buffer(image).get_function(name))

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """What *work* puts on *stream*, as a graph to be launched again and again; it does not run now.

        :raises EngineError: *work* does something that can't be captured; the stream is as before.
        """
        return capture(stream, work)

    def memory(self) -> Tuple[int, int]:
        """Bytes of GPU memory that are free, and in all."""
        with cuda_errors(self._driver):
            free, total = self._driver.mem_get_info()
        return int(free), int(total)


def _pycuda() -> Any:
    try:
        from pycuda import driver
    except ModuleNotFoundError as error:
        raise EngineError(
            "pycuda is missing: pip install 'sightd[gpu]' (it is compiled: CUDA's nvcc must be on the PATH, "
            "on a Jetson in /usr/local/cuda/bin)"
        ) from error
    except ImportError as error:
        raise EngineError(
            f"pycuda does not load ({error}): install NVIDIA's driver (on a Jetson: sudo apt install nvidia-jetpack); "
            "after an upgrade of CUDA: pip install --force-reinstall --no-cache-dir pycuda"
        ) from error
    return driver


def _first_device(driver: Any) -> Any:
    try:
        driver.init()
        return driver.Device(0)
    except driver.Error as error:
        raise EngineError(
            f"no GPU to be used ({error}): does nvidia-smi (on a Jetson: tegrastats) show one, may this user open "
            "/dev/nvidia* (on a Jetson: group video), and is the driver not older than pycuda's CUDA?"
        ) from error
