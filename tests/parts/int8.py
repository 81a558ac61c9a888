"""What ONNX Runtime makes of a quantised graph: the kernels it chooses, and how far the outputs are from float."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import AbstractSet, Any, Callable, Counter, Dict, List, Optional, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from converter.builders.base import Calibration
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.int8.plan import watched_tensors
from converter.int8.quantize import quantize
from converter.int8.ranges import Ranges, collect_ranges
from converter.int8.targets import Target, this_machine
from converter.model.tail import head_nodes
from converter.search import Recipe
from tests.parts.models import HEIGHT, WIDTH, Net

__all__ = ["conv", "decibels", "kernels", "pictures", "quantised", "write_float", "write_int8"]


def conv(
    net: Net, tensor: str, channels_in: int, channels: int, *, kernel: int = 3, groups: int = 1, bias: bool = True
) -> str:
    """Add a convolution that keeps the picture's size."""
    shape = (channels, channels_in // groups, kernel, kernel)
    spread = 1 / np.sqrt(np.prod(shape[1:]))
    inputs = [tensor, net.constant(net.random.normal(0, spread, shape).astype(np.float32))]
    if bias:
        inputs.append(net.constant(net.random.normal(0, 0.3, channels).astype(np.float32)))
    return net.add("Conv", *inputs, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4, group=groups)


def pictures(count: int = 3) -> List[NDArray[np.float32]]:
    """Inputs for a Net, spread about 0."""
    random = np.random.default_rng(11)
    return [random.normal(0, 2, (1, 3, HEIGHT, WIDTH)).astype(np.float32) for _ in range(count)]


def quantised(
    model: onnx.ModelProto,
    more_float: Sequence[str] = (),
    *,
    scope: str = "all",
    algorithm: str = "minmax",
    target: Optional[Target] = None,
) -> onnx.ModelProto:
    """*model* in INT8 for this machine, with ranges from pictures(); prediction layers and *more_float* stay float."""
    float_nodes = head_nodes(model) | set(more_float)
    ranges = collect_ranges(model, watched_tensors(model, float_nodes), pictures())
    return quantize(
        model,
        ranges,
        algorithm=algorithm,
        float_nodes=float_nodes,
        scope=scope,
        target=target or this_machine(),
    )


def write_float(finished: onnx.ModelProto, file: Path) -> None:
    """The engine file of a finished graph."""
    OnnxRuntimeBuilder().build_float(finished, "fp32", file)


def write_int8(
    finished: onnx.ModelProto, ranges: Ranges, recipe: Recipe, float_nodes: AbstractSet[str], file: Path
) -> None:
    """Its engine file in INT8, all but *float_nodes*."""
    calibration = Calibration(ranges, lambda: iter(()), 0, "")
    OnnxRuntimeBuilder().build_int8(finished, calibration, recipe, float_nodes, file)


def kernels(model: onnx.ModelProto) -> Dict[str, int]:
    """How many nodes of each operator ONNX Runtime runs for *model*."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimised.onnx"
        _session(model, lambda options: setattr(options, "optimized_model_filepath", str(file)))
        return dict(Counter(node.op_type for node in onnx.load(str(file)).graph.node))


def decibels(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    """Signal to noise of the outputs of *other*, those of *model* being the signal."""
    both = (_session(model), _session(other))
    signal, found = (
        np.concatenate([output.ravel() for picture in pictures() for output in session.run(None, {"input": picture})])
        for session in both
    )
    noise = float(np.square(signal - found).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10(np.square(signal).sum() / noise))


def _session(model: onnx.ModelProto, configure: Callable[[Any], None] = lambda options: None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # As sightd's engine has it: ONNX Runtime would quantise the weights of a float layer between two in INT8.
    options.add_session_config_entry("optimization.disable_specified_optimizers", "WeightBiasQuantization")
    configure(options)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
