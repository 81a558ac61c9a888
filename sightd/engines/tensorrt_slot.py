"""A slot of the TensorRT engine: a stream of its own, with an execution context, pinned memory and an event.

A batch is: copy up, compute, copy down, mark, all put on the slot's stream at once; nobody waits before the result is
asked for.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from statistics import median
from typing import Any, Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..types import Candidates, Image, InputSpec, Placement
from .base import Slot
from .cuda import Cuda, Graph, Mirror
from .picture_input import PictureInput
from .tensorrt_plan import TensorRtLog

__all__ = ["DTYPES", "TensorRtSlot"]

_log = logging.getLogger(__name__)

#: Names of TensorRT's data types that an engine's inputs and outputs may have.
DTYPES = {"UINT8": np.uint8, "FLOAT": np.float32, "INT32": np.int32}
_OUTPUTS = ("boxes", "scores", "classes")
_ROUNDS = 5
#: Scores that are no further apart are the same, computed in another order.
_SAME_SCORE = 1e-3


class TensorRtSlot(Slot):
    """Input, outputs and execution context for one batch."""

    def __init__(
        self, cuda: Cuda, engine: Any, errors: TensorRtLog, spec: InputSpec, dtype: Any, capacity: int, number: int
    ) -> None:
        """
        :param engine: the deserialised engine; *errors* hears what TensorRT says about it.
        :param number: of the slot, from 0: its optimisation profile, where the engine has several.
        """
        self.capacity = capacity
        self._cuda, self._errors = cuda, errors
        #: Batch size -> what it puts on the stream, captured.
        self.graphs: Dict[int, Graph] = {}
        self._shape = (capacity, spec.height, spec.width, 3)
        self._batch = 0
        with ExitStack() as undo:
            self._stream = undo.enter_context(cuda.stream())
            self._done = undo.enter_context(cuda.event())
            self.input = undo.enter_context(PictureInput(cuda, self._stream, spec, dtype, capacity))
            self._context = self._new_context(engine, number)
            undo.callback(self._forget_context)
            self._set_batch(capacity)
            self._bind("images", self.input.address)
            self._outputs: Dict[str, Mirror] = {}
            for name in _OUTPUTS:
                shape = tuple(self._context.get_tensor_shape(name))
                mirror = cuda.mirror(shape, DTYPES[engine.get_tensor_dtype(name).name])
                self._outputs[name] = undo.enter_context(mirror)
                self._bind(name, mirror.address)
            self._closing = undo.pop_all()

    def put(self, index: int, image: Image) -> Placement:
        return self.input.put(index, image)

    def fill(self, count: int, image: Image) -> None:
        """Put *image* into the first *count* places."""
        for index in range(count):
            self.put(index, image)

    def start(self, count: int) -> None:
        """Put the batch on the stream.

        :raises EngineError: TensorRT refuses it; the stream may hold a part of the work.
        """
        self.input.upload(count)
        graph = self.graphs.get(count)
        if graph is None:
            self._infer(count)
        else:
            graph.launch(self._stream)
        self._done.record(self._stream)

    def is_done(self) -> bool:
        """Whether :meth:`wait` would return, or fail, at once."""
        try:
            return self._context is None or self._done.query()
        except EngineError:
            return True

    def wait(self) -> None:
        """Wait for the batch.

        :raises EngineError: it failed on the GPU, or the engine is closed.
        """
        if self._context is None:
            raise EngineError("the engine is closed")
        self._done.synchronize()

    def candidates(self, count: int) -> Candidates:
        """Of the batch that is done, as owned copies."""
        boxes, scores, classes = (self._outputs[name].array[:count].copy() for name in _OUTPUTS)
        return Candidates(boxes, scores, classes)

    def race_graph(self, count: int) -> Tuple[float, float]:
        """Capture a batch of *count* and time it both ways, in turns: seconds as plain work, seconds as a graph."""
        self.capture(count)
        times = [(self._timed(count), self._timed(count, self.graphs[count])) for _ in range(_ROUNDS)]
        return median(plain_s for plain_s, _ in times), median(graph_s for _, graph_s in times)

    def graph_holds(self, count: int, known: Optional[Image] = None) -> bool:
        """Whether the graph of a batch of *count* computes what plain work does, also after batches of other sizes.

        TensorRT does not promise it: such a batch changes the execution context that the graph was captured from.

        :param known: a picture on which something is found; without one it is noise that must score the same.
        """
        image = np.random.default_rng(0).integers(0, 256, self._shape[1:], np.uint8) if known is None else known
        plain = self._scores(count, image)
        for other in {1, self.capacity} - {count}:
            self._scores(other, np.zeros_like(image))
            if not np.allclose(self._scores(count, image, self.graphs[count]), plain, atol=_SAME_SCORE):
                return False
        return True

    def capture(self, count: int) -> None:
        """Make the graph of a batch of *count*."""
        self._infer(count)  # a new shape is taken over by plain work first, for that can't be captured
        self._stream.synchronize()
        self.graphs[count] = self._cuda.capture(self._stream, lambda: self._infer(count))

    def drop_graph(self, count: int) -> None:
        graph = self.graphs.pop(count, None)
        if graph is not None:
            graph.close()

    def drain(self) -> None:
        """Wait for all that is on the stream, however it ended."""
        if self._context is not None:
            try:
                self._stream.synchronize()
            except EngineError as error:
                _log.warning("while waiting for the GPU: %s", error)

    def close(self) -> None:
        """Free everything; nothing may be under way."""
        for count in list(self.graphs):
            self.drop_graph(count)
        self._closing.close()

    def _scores(self, count: int, image: Image, graph: Optional[Graph] = None) -> NDArray[np.float32]:
        """What a batch of *count* times *image* scores, as plain work or as *graph*."""
        self.fill(count, image)
        self.input.upload(count)
        self._timed(count, graph)
        return self.candidates(count).scores

    def _timed(self, count: int, graph: Optional[Graph] = None) -> float:
        """Seconds of a batch of *count*, as plain work or as *graph*."""
        started = time.perf_counter()
        if graph is None:
            self._infer(count)
        else:
            graph.launch(self._stream)
        self._done.record(self._stream)
        self.wait()
        return time.perf_counter() - started

    def _infer(self, count: int) -> None:
        """Put computing and the copies of its results on the stream; they hold for the batch size alone."""
        self._set_batch(count)
        if not self._context.execute_async_v3(self._stream.handle):
            raise EngineError(f"TensorRT refuses a batch of {count}: {self._said()}")
        for mirror in self._outputs.values():
            mirror.download(self._stream, count * (mirror.array.nbytes // self.capacity))

    def _set_batch(self, count: int) -> None:
        if count != self._batch:
            if not self._context.set_input_shape("images", (count, *self._shape[1:])):
                raise EngineError(f"TensorRT refuses batches of {count}: {self._said()}")
            self._batch = count

    def _bind(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"TensorRT refuses the memory of {name!r}: {self._said()}")

    def _new_context(self, engine: Any, number: int) -> Any:
        """An execution context with an optimisation profile to itself, where the engine has several."""
        context = engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"TensorRT has no execution context for slot {number + 1}: {self._said()}; "
                "end other programs on the GPU, or take a smaller max_batch"
            )
        if engine.num_optimization_profiles > 1:
            if not context.set_optimization_profile_async(number, self._stream.handle):
                raise EngineError(f"TensorRT refuses optimisation profile {number}: {self._said()}")
            self._stream.synchronize()
            self._errors.errors()  # that profile 0 was taken is said of every further context, and mended here
        return context

    def _forget_context(self) -> None:
        self._context = None

    def _said(self) -> str:
        return " ".join(self._errors.errors())[:500] or "it gave no reason"
