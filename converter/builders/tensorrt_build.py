"""One build inside the worker: from the graph to the plan and what is known of it."""

from __future__ import annotations

import re
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Protocol

import numpy as np
from numpy.typing import NDArray

from sightd.engines.cuda import Cuda
from sightd.errors import CalibrationError

from .tensorrt_calibrator import Batches, make_calibrator
from .tensorrt_config import add_profiles, create_config
from .tensorrt_layers import count_inspected, count_logged
from .tensorrt_log import Heard, make_logger
from .tensorrt_memory import available_mb, limits
from .tensorrt_network import Refusal, create_network, pin_layers
from .tensorrt_order import Cache, Facts, Failed, Finished, Message, Order, Step
from .tensorrt_progress import make_monitor

__all__ = ["Build", "Converter"]

_LEAST_STEP = 0.01


class Converter(Protocol):
    """Who gave the order, at the other end of the pipes."""

    #: It has died, or wants the build no more.
    gone: threading.Event

    def send(self, message: Message) -> None:
        """From any thread."""

    def pictures(self, count: int, height: int, width: int) -> NDArray[np.uint8]:
        """The next [count, height, width, 3]; raises when there are none."""


class Build:
    """Carries out one order."""

    def __init__(self, trt: Any, cuda: Optional[Cuda], facts: Facts, order: Order, parent: Converter) -> None:
        self._trt, self._cuda, self._facts, self._order, self._parent = trt, cuda, facts, order, parent
        self._heard = Heard()
        self._logger = make_logger(trt, self._heard)
        self._notes: List[str] = []
        self._told = 0.0

    def finished(self) -> Finished:
        """Build, write the plan and count what its layers compute in.

        :raises Refusal: there is none, and why.
        """
        started = time.monotonic()
        with ExitStack() as stack:
            plan = self._plan(self._batches(stack))
        Path(self._order.plan).write_bytes(plan)
        layers = self._layers(plan)
        if self._heard.warnings:
            last = [line for line in self._heard.lines if line.startswith("warning")][-1:]
            self._notes.append(f"TensorRT warned {self._heard.warnings} times, last: {''.join(last)}")
        return Finished(time.monotonic() - started, _peak_rss_mb(), layers, self._notes)

    def _plan(self, batches: Optional[Batches]) -> Any:
        """The serialised engine; what building it took is freed."""
        trt, order = self._trt, self._order
        builder = self._builder()
        network, parser = create_network(trt, builder, self._logger, Path(order.onnx).read_bytes())
        allowed = limits(self._facts, available_mb(), order.options.workspace_mb, order.share)
        config = create_config(trt, builder, order, allowed)
        add_profiles(builder, config, network, order)
        if not order.typed and order.precision != "fp32":
            pin_layers(trt, network, order)
        if batches:
            config.int8_calibrator = make_calibrator(trt, order.calibrator, batches)
        if hasattr(trt, "IProgressMonitor"):
            config.progress_monitor = make_monitor(trt, self._tell, self._stopped(batches))
        self._load_timing_cache(config)
        plan = builder.build_serialized_network(network, config)
        self._check(plan, batches)
        self._save_timing_cache(config)
        del parser  # it held the weights until here
        return plan

    def _builder(self) -> Any:
        try:
            return self._trt.Builder(self._logger)
        except TypeError as error:  # pybind11's word for a null pointer
            raise Refusal(
                Failed("refused", "TensorRT can't start: does it suit CUDA and the driver?", list(self._heard.lines))
            ) from error

    def _check(self, plan: Any, batches: Optional[Batches]) -> None:
        if batches is not None and batches.error is not None:
            raise CalibrationError(f"calibration failed: {batches.error}") from batches.error
        if self._parent.gone.is_set():
            raise Refusal(Failed("cancelled", "the build was stopped"))
        if plan is None:
            lines = list(self._heard.lines)
            raise Refusal(Failed(self._heard.failure(), lines[-1] if lines else "TensorRT gives no reason", lines))

    def _batches(self, stack: ExitStack) -> Optional[Batches]:
        order = self._order
        if not order.calibrator or self._cuda is None:
            return None
        pixels = order.profile.opt * order.height * order.width * 3
        buffer = stack.enter_context(self._cuda.buffer(pixels * (4 if order.float_input else 1)))

        def upload(batch: NDArray[Any]) -> int:
            buffer.write(batch)
            return buffer.address

        return Batches(
            read=lambda count: self._parent.pictures(count, order.height, order.width),
            upload=upload,
            write=lambda content: self._parent.send(Cache(content)),
            count=order.pictures,
            batch=order.profile.opt,
            as_float=order.float_input,
            cache=order.cache,
        )

    def _stopped(self, batches: Optional[Batches]) -> Callable[[], bool]:
        return lambda: self._parent.gone.is_set() or (batches is not None and batches.error is not None)

    def _tell(self, fraction: float) -> None:
        if fraction >= self._told + _LEAST_STEP:
            self._told = fraction
            with suppress(BrokenPipeError):  # listen() notices it too
                self._parent.send(Step(fraction))

    def _load_timing_cache(self, config: Any) -> None:
        if not self._order.timing_cache:
            return
        file = Path(self._order.timing_cache)
        content = file.read_bytes() if file.exists() else b""
        cache = config.create_timing_cache(content)
        if cache is None or not config.set_timing_cache(cache, False):
            if content:
                self._notes.append("the timing cache is of another machine or TensorRT: everything was timed anew")
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def _save_timing_cache(self, config: Any) -> None:
        cache = config.get_timing_cache() if self._order.timing_cache else None
        if cache is not None:
            file = Path(self._order.timing_cache)
            partial = file.with_name(f".{file.name}.partial")
            partial.write_bytes(cache.serialize())
            partial.replace(file)

    def _layers(self, plan: Any) -> Dict[str, int]:
        """Counted by the engine inspector, which needs the engine on its GPU; else by what was logged.

        That of 8.5 told nothing of engines with several profiles on the GPU that was tried.
        """
        if self._cuda is None:
            return count_logged(self._heard.layers)
        runtime = self._trt.Runtime(self._logger)
        if self._order.options.version_compatible:
            runtime.engine_host_code_allowed = True  # such a plan brings its own runtime
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise Refusal(Failed("build", "the engine does not load after it was built", list(self._heard.lines)))
        inspector = engine.create_engine_inspector()
        told = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return count_inspected(told) or count_logged(self._heard.layers)


def _peak_rss_mb() -> float:
    """Of this process alone; what getrusage() says begins with its parent's."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("ascii"))
    return int(found[1]) / 1024 if found else 0.0
