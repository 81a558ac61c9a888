"""The ONNX Runtime engine: the same seam on any CPU, the embedded default where there is no TensorRT.

On a CPU a batch of four costs four times a batch of one, and a core that computes one picture alone
wastes less than two that share one (`python -m bench threads`). So a batch is cut into as many parts
as there are workers, and each worker runs its part on its own core.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..types import Candidates, InputSpec
from .base import Engine, EngineOptions, Slot, Ticket
from .slot_pool import HostSlot, SlotPool

__all__ = ["FORBIDDEN_OPTIMIZERS", "OnnxRuntimeEngine", "load"]

#: ONNX Runtime would give a layer that was left float between INT8 ones INT8 weights of its own making.
FORBIDDEN_OPTIMIZERS = ["WeightBiasQuantization"]

_Outputs = Tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


def load(
    file: Path, spec: InputSpec, max_batch: int, options: EngineOptions, content: Optional[bytes] = None
) -> OnnxRuntimeEngine:
    """The engine in *file* (see :func:`sightd.engines.load_engine`).

    :param content: of the file, where it was read, and checked, before.
    """
    return OnnxRuntimeEngine(file, spec, threads=options.threads, max_batch=max_batch, content=content)


class OnnxRuntimeEngine(Engine):
    """A finished ONNX graph: input "images", outputs "boxes", "scores" and "classes" as Candidates has them."""

    depth = 2

    def __init__(
        self, model: Path, spec: InputSpec, *, threads: int = 0, max_batch: int = 8, content: Optional[bytes] = None
    ) -> None:
        self.max_batch = max_batch
        self._workers = threads or len(os.sched_getaffinity(0))
        self._session = _session(model, content)
        self._slots = SlotPool([HostSlot(spec, max_batch) for _ in range(self.depth)])
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="onnxruntime")

    def slot(self) -> Slot:
        return self._slots.lend()

    def submit(self, slot: Slot, count: int) -> Ticket:
        own = self._slots.checked(slot, count)
        parts = np.array_split(own.pixels[:count], min(count, self._workers))
        return _OnnxRuntimeTicket(self._slots, own, [self._pool.submit(self._run, part) for part in parts])

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    def _run(self, pixels: NDArray[np.uint8]) -> _Outputs:
        boxes, scores, classes = self._session.run(["boxes", "scores", "classes"], {"images": pixels})
        return boxes, scores, classes


class _OnnxRuntimeTicket(Ticket):
    def __init__(self, slots: SlotPool[HostSlot], slot: HostSlot, parts: List[Future[_Outputs]]) -> None:
        self._slots, self._slot, self._parts = slots, slot, parts

    def done(self) -> bool:
        return all(part.done() for part in self._parts)

    def result(self) -> Candidates:
        # Every part is waited for, even after a failure: nobody may write the slot while a worker reads it.
        errors = [part.exception() for part in self._parts]
        self._slots.take_back(self._slot)
        for error in errors:
            if error is not None:
                raise EngineError(f"ONNX Runtime failed on a batch: {error}") from error
        boxes, scores, classes = zip(*(part.result() for part in self._parts))
        return Candidates(np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes))


def _session(model: Path, content: Optional[bytes]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("this bundle needs ONNX Runtime: pip install 'sightd[ort]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a run computes on its caller's thread, so the workers do not contend
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(model) if content is None else content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=FORBIDDEN_OPTIMIZERS,
        )
        session._model_bytes = None  # ONNX Runtime (1.32) keeps the file's content beside what it made of it
        return session
    except Exception as error:  # onnxruntime's exceptions share no documented base class
        version = onnxruntime.__version__
        raise EngineError(
            f"{model}: ONNX Runtime {version} can't load it ({error}); convert the model again"
        ) from error
