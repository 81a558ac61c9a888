"""One picture on all cores, or one picture a core: why the ONNX Runtime engine works as it does."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Callable, Dict, List

import numpy as np
import onnxruntime

from .models import MODELS
from .result import Result

__all__ = ["run"]


def run(quick: bool) -> Result:
    """Pictures a second with all cores busy, as a share of one session with a thread a core."""
    seconds = 1.5 if quick else 5.0
    cores = len(os.sched_getaffinity(0))
    model = MODELS[0].load().SerializeToString()
    pixels = np.zeros((1, 3, 416, 416), np.float32)
    shared, single = _session(model, cores), _session(model, 1)
    singles = [_session(model, 1) for _ in range(cores)]
    variants: Dict[str, List[Any]] = {
        f"one caller, {cores} threads": [shared],
        f"{cores} callers, a single-threaded session each": singles,
        f"{cores} callers of one single-threaded session": [single] * cores,
    }
    rates: Dict[str, List[float]] = {name: [] for name in variants}
    for _ in range(3):
        for name, sessions in variants.items():
            rates[name].append(_rate([lambda s=s: s.run(None, {"images": pixels}) for s in sessions], seconds))
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    base = next(iter(medians.values()))
    figures = {name: round(value / base, 3) for name, value in medians.items()}
    return Result("threads", figures, ["variant", "relative throughput"], [list(item) for item in figures.items()])


def _session(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _rate(calls: List[Callable[[], Any]], seconds: float) -> float:
    """Calls a second, each of *calls* repeated on a thread of its own."""
    until = time.monotonic() + seconds
    done = [0] * len(calls)

    def repeat(index: int) -> None:
        while time.monotonic() < until:
            calls[index]()
            done[index] += 1

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds
