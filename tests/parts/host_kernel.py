"""The letterbox kernel as an ordinary function: sightd/engines/letterbox.cu, unchanged, by the C++ compiler."""

from __future__ import annotations

import ctypes
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Tuple

import numpy as np

import sightd.engines
from tests.parts.fake_cuda import FakeGpu, Kernel
from tests.parts.requires import require

__all__ = ["host_kernels"]

_SOURCE = Path(sightd.engines.__file__).with_name("letterbox.cu")
#: What CUDA's compiler brings, and the GPU: blocks and threads one after another.
_AROUND = """
#define __device__
#define __global__
struct Index { int x, y; };
static thread_local Index blockIdx, blockDim, threadIdx;
#include "%s"
extern "C" void launch(void (*kernel)(const unsigned char *, void *, int, int, int, int, int, int, int),
                       Index grid, Index block, const unsigned char *staged, void *result, const int *numbers)
{
    blockDim = block;
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x)
                    kernel(staged, result, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
                           numbers[6]);
}
"""


class _Index(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))


def host_kernels() -> Dict[str, Kernel]:
    """The kernels by name, for :attr:`FakeGpu.kernels`; the calling test is skipped where there is no compiler."""
    require("g++")
    library = _library()
    return {
        "letterbox_uint8": _stand_in(library, library.letterbox_uint8, np.uint8),
        "letterbox_float32": _stand_in(library, library.letterbox_float32, np.float32),
    }


def _stand_in(library: ctypes.CDLL, kernel: Any, dtype: type) -> Kernel:
    def run(gpu: FakeGpu, grid: Tuple[int, ...], block: Tuple[int, ...], arguments: Tuple[Any, ...]) -> None:
        staged, result = map(int, arguments[:2])
        numbers = np.array(arguments[2:], np.int32)
        width, height, _, _, inner_w, inner_h, _ = numbers.tolist()
        taps = gpu.read(staged, (inner_w + inner_h) * 16)
        columns, rows = np.split(taps.view(np.int32).reshape(-1, 4)[:, :2], [inner_w])
        # Both reads are illegal accesses where the kernel's would be.
        source = gpu.read(staged, len(taps) + int(columns.max()) + int(rows.max()) + 3)
        pictures = gpu.read(result, width * height * 3 * np.dtype(dtype).itemsize)
        arrays = (ctypes.c_void_p(array.ctypes.data) for array in (source, pictures, numbers))
        library.launch(kernel, _Index(*grid[:2]), _Index(*block[:2]), *arrays)

    return run


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        source, library = Path(folder, "letterbox.cpp"), Path(folder, "letterbox.so")
        source.write_text(_AROUND % _SOURCE)
        subprocess.run(["g++", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
        return ctypes.CDLL(str(library))
