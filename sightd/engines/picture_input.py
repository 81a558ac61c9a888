"""The input of one slot on the GPU, and the two ways of pictures into it: the CPU's letterbox and the GPU's."""

from __future__ import annotations

from typing import Optional

import numpy as np
from numpy.typing import DTypeLike

from ..resize import resize_into
from ..types import Image, InputSpec, Placement
from .cuda import Cuda, Kernel, Stream
from .cuda_parts import Part
from .gpu_letterbox import GpuLetterbox

__all__ = ["PictureInput"]


class PictureInput(Part):
    """[capacity, spec.height, spec.width, 3] of uint8 or float32 0..255 at ``address``, filled on one stream."""

    #: The GPU's letterbox is in use; to be changed while nothing is under way. Needs :meth:`add_gpu` before.
    on_gpu: bool = False

    def __init__(self, cuda: Cuda, stream: Stream, spec: InputSpec, dtype: DTypeLike, capacity: int) -> None:
        self.dtype = np.dtype(dtype)
        self._cuda, self._stream, self._spec, self._capacity = cuda, stream, spec, capacity
        self._mirror = cuda.mirror((capacity, spec.height, spec.width, 3), dtype)
        self._resized = np.empty((spec.height, spec.width, 3), np.uint8)
        self._gpu: Optional[GpuLetterbox] = None
        self.address = self._mirror.address

    def put(self, index: int, image: Image) -> Placement:
        """As :meth:`sightd.engines.Slot.put`; the GPU's letterbox starts at once."""
        if self.on_gpu and self._gpu is not None:
            return self._gpu.put(index, image)
        if self.dtype == np.uint8:
            return resize_into(self._mirror.array[index], image, self._spec)
        place = resize_into(self._resized, image, self._spec)
        self._mirror.array[index] = self._resized
        return place

    def upload(self, count: int) -> None:
        """Put the copy of the first *count* pictures on the stream; with ``on_gpu`` they are on the GPU already."""
        if not self.on_gpu:
            self._mirror.upload(self._stream, count * (self._mirror.array.nbytes // self._capacity))

    def add_gpu(self, kernel: Kernel) -> None:
        """Make the GPU's letterbox with *kernel* of :func:`.gpu_letterbox.letterbox_kernel`."""
        self._gpu = GpuLetterbox(
            self._cuda,
            kernel,
            self._stream,
            self._spec,
            pictures=self.address,
            dtype=self.dtype,
            capacity=self._capacity,
        )

    def drop_gpu(self) -> None:
        """Use the CPU's letterbox and free the GPU's; nothing may be under way."""
        gpu, self._gpu, self.on_gpu = self._gpu, None, False
        if gpu is not None:
            gpu.close()

    def close(self) -> None:
        self.drop_gpu()
        self._mirror.close()
