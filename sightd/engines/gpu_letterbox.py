"""The letterbox on the GPU: a picture goes up as the camera gave it, a kernel makes the engine's input of it."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import numpy as np
from numpy.typing import DTypeLike

from ..errors import EngineError
from ..types import Image, InputSpec, Placement
from .cuda import Cuda, Event, Kernel, Mirror, Stream
from .cuda_parts import Part
from .letterbox_taps import Sampling, sampling
from .nvrtc import compile_kernels

__all__ = ["GpuLetterbox", "letterbox_kernel"]

_SOURCE = Path(__file__).with_name("letterbox.cu")
#: Threads of a block, one a pixel: whole warps along a row.
_BLOCK = (32, 8, 1)


def letterbox_kernel(cuda: Cuda, spec: InputSpec, dtype: DTypeLike) -> Kernel:
    """Compile the kernel that writes inputs of *dtype* (uint8, or float32 0..255) for this GPU.

    :raises EngineError: it can't be; says why and what to do.
    """
    if spec.interpolation != "linear":
        raise EngineError(
            f"the GPU's letterbox interpolates linearly, this bundle's input wants {spec.interpolation!r}"
        )
    image = compile_kernels(_SOURCE.read_text("utf-8"), cuda.sm, cuda.version)
    return cuda.load_kernel(image, f"letterbox_{np.dtype(dtype).name}")


class GpuLetterbox(Part):
    """Writes pictures into the places of one slot's input on the GPU, on the slot's stream.

    Each place has a staging area of its own, as large as the largest picture so far needs. It is written again only
    after the kernel that reads it is done.
    """

    def __init__(
        self,
        cuda: Cuda,
        kernel: Kernel,
        stream: Stream,
        spec: InputSpec,
        *,
        pictures: int,
        dtype: DTypeLike,
        capacity: int,
    ) -> None:
        """
        :param kernel: of :func:`letterbox_kernel`, for *spec* and *dtype*.
        :param pictures: address of the input on the GPU, [capacity, spec.height, spec.width, 3] of *dtype*.
        """
        self._cuda, self._kernel, self._stream, self._spec, self._pictures = cuda, kernel, stream, spec, pictures
        self._picture_nbytes = spec.height * spec.width * 3 * np.dtype(dtype).itemsize
        self._grid = (-(-spec.width // _BLOCK[0]), -(-spec.height // _BLOCK[1]), 1)
        self._done: List[Event] = [cuda.event() for _ in range(capacity)]
        self._staging: List[Optional[Mirror]] = [None] * capacity

    def put(self, index: int, image: Image) -> Placement:
        """Start *image* on its way into place *index* and return; *image* is no longer needed then."""
        height, width = image.shape[:2]
        sampled = sampling(self._spec, width, height)
        staging = self._free_staging(index, sampled.nbytes)
        sampled.write(staging.array, image)
        staging.upload(self._stream, sampled.nbytes)
        self._launch(staging.address, self._pictures + index * self._picture_nbytes, sampled)
        self._done[index].record(self._stream)
        return sampled.placement

    def close(self) -> None:
        """Free everything; the stream must have no work left."""
        for part in [*self._done, *filter(None, self._staging)]:
            part.close()
        self._staging = [None] * len(self._staging)

    def _free_staging(self, index: int, nbytes: int) -> Mirror:
        """The staging area of place *index*, with nothing on the stream that reads it."""
        self._done[index].synchronize()
        staging = self._staging[index]
        if staging is None or staging.array.nbytes < nbytes:
            self._staging[index] = None  # stays so if the next line raises
            if staging is not None:
                staging.close()
            staging = self._staging[index] = self._cuda.mirror((nbytes,), np.uint8)
        return staging

    def _launch(self, staged: int, result: int, sampled: Sampling) -> None:
        numbers = (self._spec.width, self._spec.height, *sampled.inner, self._spec.pad_value)
        self._kernel.launch(self._stream, self._grid, _BLOCK, staged, result, *map(np.int32, numbers))
