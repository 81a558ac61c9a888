"""Where an engine's pictures are resized: on the CPU or on the GPU, as measured, since either may be the slower."""

from __future__ import annotations

import logging
import time
from statistics import median
from typing import Callable, Dict, List, Sequence

from ..types import Image
from .base import Engine
from .cuda import Kernel
from .picture_input import PictureInput

__all__ = ["choose_letterbox", "faster_on_gpu"]

_log = logging.getLogger(__name__)

_ROUNDS = 5


def choose_letterbox(engine: Engine, inputs: Sequence[PictureInput], kernel: Kernel, image: Image) -> None:
    """Leave *inputs*, those of all slots of *engine*, with the faster letterbox for *image*; all slots must be free."""

    def use_gpu(on: bool) -> None:
        for entry in inputs:
            entry.on_gpu = on

    for entry in inputs:
        entry.add_gpu(kernel)
    if faster_on_gpu(engine, image, use_gpu):
        use_gpu(True)
    else:
        for entry in inputs:
            entry.drop_gpu()


def faster_on_gpu(engine: Engine, image: Image, use_gpu: Callable[[bool], None]) -> bool:
    """Time full batches of *image*, from the first put to the result, the two ways in turns; all slots must be free.

    :param use_gpu: switches the slots that *engine* lends from now on to the GPU's letterbox (True) or the CPU's.
    """
    times_s: Dict[bool, List[float]] = {False: [], True: []}
    for _ in range(engine.depth + _ROUNDS):
        for on_gpu, measured in times_s.items():
            use_gpu(on_gpu)
            measured.append(_batch_s(engine, image))
    # What each slot does for the first time, memory and graphs, is not counted.
    cpu_s, gpu_s = (median(measured[engine.depth :]) for measured in times_s.values())
    height, width = image.shape[:2]
    _log.info(
        "resizing %d pictures of %d x %d and inference: %.2f ms with the CPU's letterbox, %.2f ms with the GPU's",
        *(engine.max_batch, width, height, cpu_s * 1000, gpu_s * 1000),
    )
    return gpu_s < cpu_s


def _batch_s(engine: Engine, image: Image) -> float:
    started = time.perf_counter()
    slot = engine.slot()
    for index in range(engine.max_batch):
        slot.put(index, image)
    engine.submit(slot, engine.max_batch).result()
    return time.perf_counter() - started
