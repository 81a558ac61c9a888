"""One TensorRT engine, tried in several ways until one works; and what people are told where none does."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, List, Sequence, Tuple

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.errors import BuildError
from sightd.manifest import Profile

from ..progress import Progress
from .base import Built
from .tensorrt_memory import Attempt, check_free
from .tensorrt_order import Cache, Facts, Failed, Finished, Message, Order, Problem, TensorRtOptions
from .tensorrt_process import WorkerFailure, run_worker
from .tensorrt_stages import Stages

__all__ = ["Attempts", "ask"]

Failures = Sequence[Tuple[Attempt, Failed]]
_SAID_LINES = 5
#: INT8 there may crash where a TopK is in the graph, as in every one of ours (checkLinks).
_CRASHING = (10, 3)


def ask(options: TensorRtOptions, folder: Path) -> Facts:
    """TensorRT's version and the GPU.

    :raises BuildError: one of them can't be used.
    """
    heard: List[Message] = []
    try:
        run_worker(Order(options), folder, iter(()), heard.append)
    except WorkerFailure as failure:
        raise BuildError("\n".join([failure.failed.reason, *failure.failed.log[-_SAID_LINES:]])) from failure
    return next(message for message in heard if isinstance(message, Facts))


class Attempts:
    """Carries out orders, each in as many workers as it takes."""

    def __init__(self, folder: Path, facts: Facts, progress: Progress, available: Callable[[], int]) -> None:
        """In *folder*; *available* is the machine's free memory in MB."""
        self._folder, self._facts, self._progress, self._available = folder, facts, progress, available

    def build(
        self,
        order: Order,
        model: onnx.ModelProto,
        inputs: Callable[[], Iterator[NDArray[np.uint8]]] = lambda: iter(()),
        keep: Callable[[bytes], None] = lambda content: None,
    ) -> Built:
        """The engine of *model*.

        :param inputs: the calibration pictures, from the start.
        :param keep: gets a new calibration cache as soon as there is one.
        :raises BuildError: no attempt gave an engine; names them all.
        """
        order = self._addressed(order, model)
        failures: List[Tuple[Attempt, Failed]] = []
        attempt = Attempt(pinned=bool(order.float_nodes or order.half_nodes))
        while True:
            check_free(self._available())
            heard = _Heard(keep)
            order = msgspec.structs.replace(order, share=attempt.share, obey=attempt.obey)
            try:
                self._run(order, inputs(), heard)
                return _built(order, heard.finished[0], failures)
            except WorkerFailure as failure:
                failures.append((attempt, failure.failed))
            following = attempt.next(failures[-1][1].kind)
            if following is None:
                raise BuildError(_no_engine(order, model, failures, self._facts))
            attempt = following
            order = msgspec.structs.replace(order, cache=heard.cache or order.cache)

    def _addressed(self, order: Order, model: onnx.ModelProto) -> Order:
        """*order* with what the graph says."""
        graph = self._folder / "graph.onnx"
        graph.write_bytes(model.SerializeToString())
        batch, height, width, _ = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
        return msgspec.structs.replace(
            order,
            onnx=str(graph),
            height=height,
            width=width,
            nodes=[node.name for node in model.graph.node],
            profile=Profile(batch, batch, batch) if batch else order.profile,
        )

    def _run(self, order: Order, pictures: Iterator[NDArray[np.uint8]], heard: _Heard) -> None:
        waiting = 0 if order.cache or not order.calibrator else -(-order.pictures // order.profile.opt)
        title = f"TensorRT {self._facts.release}, {order.precision}"
        with Stages(self._progress, title, waiting) as stages:

            def hear(message: Message) -> None:
                heard.hear(message)
                stages.hear(message)

            run_worker(order, self._folder, pictures, hear, self._available)


class _Heard:
    """What a worker said that outlasts it."""

    def __init__(self, keep: Callable[[bytes], None]) -> None:
        self._keep = keep
        self.cache = b""
        self.finished: List[Finished] = []

    def hear(self, message: Message) -> None:
        if isinstance(message, Cache):
            self.cache = message.content
            self._keep(message.content)
        elif isinstance(message, Finished):
            self.finished.append(message)


def _built(order: Order, finished: Finished, failures: Failures) -> Built:
    notes = [f"failed with {attempt}: {failed.reason}" for attempt, failed in failures] + finished.notes
    if not order.obey:
        notes.append("TensorRT was left to compute layers that should stay float in INT8: the gate judges the outcome")
    precision = order.precision
    if precision == "int8" and finished.layers and not finished.layers.get("int8"):
        precision = "fp16"
        notes.append("no layer computes in INT8: TensorRT found each faster, or possible only, without")
    return Built(Path(order.plan), precision, finished.seconds, finished.peak_rss_mb, finished.layers, tuple(notes))


def _no_engine(order: Order, model: onnx.ModelProto, failures: Failures, facts: Facts) -> str:
    last = failures[-1][1]
    lines = [f"TensorRT {facts.release} built no {order.precision} engine: {last.reason}"]
    lines += [_worded(problem, model) for problem in last.problems]
    lines += [f"tried {attempt}: {failed.reason}" for attempt, failed in failures if len(failures) > 1]
    lines += [f"TensorRT said: {line}" for line in last.log[-_SAID_LINES:]]
    return "\n".join([*lines, f"what to do: {_advice(order, last, facts)}"])


def _worded(problem: Problem, model: onnx.ModelProto) -> str:
    if not 0 <= problem.node < len(model.graph.node):
        return problem.reason
    node = model.graph.node[problem.node]
    return f"node {node.name} ({node.op_type}): {problem.reason}"


def _advice(order: Order, failed: Failed, facts: Facts) -> str:
    crashed = failed.kind == "crash" or any("checkLinks" in line for line in failed.log)
    if crashed and order.precision == "int8" and facts.version[:2] == _CRASHING:
        return "this TensorRT may crash on INT8 with a TopK in the graph: use FP16 here, or install a later TensorRT"
    if failed.kind in ("memory", "crash"):
        return (
            "stop what else uses memory, the daemon first (sudo systemctl stop sightd); add swap; or give a model with "
            f"a smaller input, or one exported with a fixed batch of 1 (this is built for up to {order.profile.max})"
        )
    if failed.kind == "graph":
        return "export the model again with opset 13 to 17 and standard operators, or convert for --engine onnxruntime"
    if failed.kind == "implementation":
        return "keep more layers float, raise --trt workspace_mb where it was set, or allow more tactic sources"
    return "see what TensorRT said; --engine onnxruntime builds for the CPU"
