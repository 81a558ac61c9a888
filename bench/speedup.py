"""What INT8 gains on this machine in a conventional detector: 3 × 3 convolutions with SiLU, YOLOv8n's shape."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import onnx
import onnxruntime

from converter.int8.emit import emit
from converter.int8.layer_speed import slow_first_layers
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import collect_ranges
from converter.int8.targets import this_machine
from converter.model.tail import head_nodes
from converter.search import Recipe
from sightd.engines.onnxruntime import FORBIDDEN_OPTIMIZERS
from tests.parts.conv_silu import conv_silu

from .result import Result

__all__ = ["run"]

_SIZE = 416


def run(quick: bool) -> Result:
    """Random weights, one thread, all engines in turns; the last row is what the converter builds."""
    model = conv_silu(_SIZE)
    random = np.random.default_rng(0)
    picture = random.normal(0, 1, (1, 3, _SIZE, _SIZE)).astype(np.float32)
    times = _times(_engines(model, picture), picture, 10 if quick else 40)
    speedups = {name: round(times["float"] / seconds, 3) for name, seconds in times.items()}
    rows = [[name, round(times[name] * 1000, 2), speedups[name]] for name in times]
    figures: Dict[str, Any] = {"conv_silu_int8_speedup": speedups["int8"], "speedups": speedups}
    conditions = {"size": _SIZE, "threads": 1, "onnxruntime": onnxruntime.__version__}
    return Result("speedup", figures, ["engine", "ms", "x float"], rows, conditions)


def _engines(model: onnx.ModelProto, picture: Any) -> Dict[str, onnx.ModelProto]:
    head = head_nodes(model)
    ranges = collect_ranges(model, watched_tensors(model, head), [picture])
    slow = slow_first_layers(model, layers(model, head))
    fused, integer = (replace(this_machine(), fuse_silu=fuse) for fuse in (True, False))
    every, convolutions = Recipe("minmax", "all", 0), Recipe("minmax", "conv", 0)
    return {
        "float": model,
        "SiLU in integers": emit(model, ranges, every, integer, head),
        "SiLU in integers, slow first layers float": emit(model, ranges, every, integer, head | slow),
        "SiLU fused, slow first layers float, scope all": emit(model, ranges, every, fused, head | slow),
        "int8": emit(model, ranges, convolutions, this_machine(), head | slow),
    }


def _times(engines: Dict[str, onnx.ModelProto], picture: Any, rounds: int) -> Dict[str, float]:
    """The median seconds of each."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = {name: _session(model, Path(folder) / "engine.onnx") for name, model in engines.items()}
    taken: Dict[str, List[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"images": picture})
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def _session(model: onnx.ModelProto, file: Path) -> Any:
    onnx.save(model, str(file))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as sightd's engine computes
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=FORBIDDEN_OPTIMIZERS
    )
