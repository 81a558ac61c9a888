"""The TensorRT engine: batches on streams of their own, so that copies and computing of several overlap."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from traceback import clear_frames
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Type

from ..errors import EngineError
from ..types import Candidates, Image, InputSpec
from .base import Engine, EngineOptions, Slot, Ticket
from .cuda import Cuda, Kernel
from .gpu_letterbox import letterbox_kernel
from .letterbox_choice import choose_letterbox
from .slot_pool import SlotPool
from .tensorrt_plan import TensorRtLog, check_contract, deserialize, new_runtime, tensorrt_log, tensorrt_module
from .tensorrt_profiles import SLOTS
from .tensorrt_slot import DTYPES, TensorRtSlot

__all__ = ["TensorRtEngine", "load", "versions"]

_log = logging.getLogger(__name__)

#: A CUDA graph may take so many times as long as plain work: it always spares the CPU most of the launching.
_DEAREST = 1.1
#: So many batch sizes have one, the smallest ones and the largest.
_MOST_GRAPHS = 16


def load(
    file: Path, spec: InputSpec, max_batch: int, options: EngineOptions, content: Optional[bytes] = None
) -> TensorRtEngine:
    """The engine in *file* (see :func:`sightd.engines.load_engine`).

    :param content: of the file, where it was read, and checked, before.
    """
    return TensorRtEngine(file, spec, max_batch=max_batch, preprocess=options.preprocess, content=content)


def versions() -> Dict[str, str]:
    """The versions here, named as in EngineRecord.versions.

    :raises EngineError: TensorRT or pycuda is missing, or there is no GPU.
    """
    release = tensorrt_module().__version__
    with Cuda() as cuda:
        return {"tensorrt": release, "cuda": cuda.version, "sm": cuda.sm, "device": cuda.device}


class TensorRtEngine(Engine):
    """A plan of a finished graph."""

    def __init__(
        self,
        file: Path,
        spec: InputSpec,
        *,
        max_batch: int = 8,
        preprocess: str = "cpu",
        graphs: bool = True,
        content: Optional[bytes] = None,
    ) -> None:
        """
        :param preprocess: where pictures are resized, "cpu" or "gpu"; "auto" decides in :meth:`warm_up`.
        :param graphs: whether :meth:`warm_up` tries CUDA graphs.
        :param content: of *file*, where it was read before.
        :raises EngineMismatch: the plan is for another TensorRT or GPU.
        :raises EngineError: it can't be loaded; says why and what to do.
        """
        self.max_batch = max_batch
        self._spec, self._preprocess, self._tries_graphs = spec, preprocess, graphs
        trt = tensorrt_module()
        with ExitStack() as undo:
            self._cuda = undo.enter_context(Cuda())
            undo.push(_forget_locals)
            errors = TensorRtLog()
            #: What must live as long as the slots, and no longer than the context: logger, runtime, engine.
            self._parts: List[Any] = [tensorrt_log(trt, errors)]
            undo.callback(self._parts.clear)
            self._parts.append(new_runtime(trt, errors, self._parts[0]))
            self._parts.append(deserialize(self._parts[1], errors, file, content))
            self._dtype = DTYPES[check_contract(file, self._parts[2], spec, max_batch)]
            self._slots: List[TensorRtSlot] = []
            for number in range(_depth(file, trt, self._parts[2])):
                slot = TensorRtSlot(self._cuda, self._parts[2], errors, spec, self._dtype, max_batch, number)
                undo.callback(slot.close)
                self._slots.append(slot)
            if preprocess == "gpu":
                kernel = self._kernel(undo)
                for slot in self._slots:
                    slot.input.add_gpu(kernel)
                    slot.input.on_gpu = True
            self._pool, self.depth = SlotPool(self._slots), len(self._slots)
            self._closing = undo.pop_all()

    def slot(self) -> Slot:
        return self._pool.lend()

    def submit(self, slot: Slot, count: int) -> Ticket:
        own = self._pool.checked(slot, count)
        try:
            own.start(count)
        except EngineError as error:
            return _TensorRtTicket(self._pool, own, count, str(error))
        return _TensorRtTicket(self._pool, own, count)

    def warm_up(self, image: Image) -> None:
        """As every engine's, on every slot; then measure what pays here: CUDA graphs, the GPU's letterbox.

        Graphs are checked on the picture that is :attr:`known`, or on noise, where nothing may be found.
        All slots must be free.
        """
        for count in sorted({*range(1, min(self.max_batch, _MOST_GRAPHS)), self.max_batch}):
            for slot in self._slots:
                slot.fill(count, image)
                slot.start(count)
                slot.wait()
            if self._tries_graphs:
                self._try_graph(count)
        if self._tries_graphs:
            self._drop_wrong_graphs()
        self._tries_graphs = False
        if self._preprocess == "auto":
            self._preprocess = self._choose_letterbox(image)

    def graph_batches(self) -> Sequence[int]:
        """The batch sizes that run as CUDA graphs."""
        return sorted(self._slots[0].graphs)

    def close(self) -> None:
        """Wait for what is under way and free everything. Idempotent."""
        for slot in self._slots:
            slot.drain()
        self._closing.close()

    def _try_graph(self, count: int) -> None:
        """Run batches of *count* as CUDA graphs, if they can be captured and are not slower."""
        first = self._slots[0]
        try:
            plain_s, graph_s = first.race_graph(count)
            if graph_s > _DEAREST * plain_s:
                first.drop_graph(count)
                return
            for slot in self._slots[1:]:
                slot.capture(count)
        except EngineError as error:
            _log.info("no CUDA graph for batches of %d: %s", count, error)
            self._drop_graphs(count)
            return
        _log.info("CUDA graph for batches of %d: %.3f ms instead of %.3f", count, graph_s * 1000, plain_s * 1000)

    def _drop_wrong_graphs(self) -> None:
        """Keep the graphs that compute what plain work does, also after batches of another size."""
        for count in self.graph_batches():
            if not all(slot.graph_holds(count, self.known) for slot in self._slots):
                _log.warning("the CUDA graph for batches of %d computes something else: not used", count)
                self._drop_graphs(count)

    def _drop_graphs(self, count: int) -> None:
        for slot in self._slots:
            slot.drop_graph(count)

    def _choose_letterbox(self, image: Image) -> str:
        """Decide by measurement: "cpu" or "gpu"."""
        inputs = [slot.input for slot in self._slots]
        try:
            choose_letterbox(self, inputs, self._kernel(self._closing), image)
        except EngineError as error:
            _log.info("pictures are resized on the CPU: %s", error)
            for slot in self._slots:
                slot.drain()
                slot.input.drop_gpu()
            self._pool = SlotPool(self._slots)  # what failed may have kept a slot
        return "gpu" if inputs[0].on_gpu else "cpu"

    def _kernel(self, undo: ExitStack) -> Kernel:
        kernel = letterbox_kernel(self._cuda, self._spec, self._dtype)
        undo.callback(kernel.close)
        return kernel


class _TensorRtTicket(Ticket):
    def __init__(self, pool: SlotPool[TensorRtSlot], slot: TensorRtSlot, count: int, refusal: str = "") -> None:
        """:param refusal: why the batch could not be started."""
        self._pool, self._slot, self._count, self._refusal = pool, slot, count, refusal

    def done(self) -> bool:
        return bool(self._refusal) or self._slot.is_done()

    def result(self) -> Candidates:
        try:
            if self._refusal:
                raise EngineError(self._refusal)
            self._slot.wait()
            return self._slot.candidates(self._count)
        except EngineError as error:
            self._slot.drain()  # a part of the work may still read the slot
            raise EngineError(f"TensorRT failed on a batch of {self._count}: {error}") from error
        finally:
            self._pool.take_back(self._slot)


def _forget_locals(
    kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
) -> None:
    """Free what an error's traceback holds of TensorRT's: it must not outlive the CUDA context."""
    clear_frames(traceback)


def _depth(file: Path, trt: Any, engine: Any) -> int:
    """Batches that can be under way at once: before TensorRT 10 a profile with open shapes serves one context.

    :raises EngineError: only one can.
    """
    fixed = -1 not in tuple(engine.get_tensor_shape("images"))
    shared = fixed or int(trt.__version__.split(".")[0]) >= 10
    depth = SLOTS if shared else min(SLOTS, engine.num_optimization_profiles)
    if depth < 2:
        raise EngineError(
            f"{file}: built with one optimisation profile, with which TensorRT {trt.__version__} can't work on two "
            f"batches at a time; convert the model again, sightd builds {SLOTS}"
        )
    return depth
