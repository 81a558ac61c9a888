"""First layers that INT8 makes slower on this machine: each timed alone, in float and as an integer kernel."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..model.graph import constants

__all__ = ["slow_first_layers"]

#: Timing is rough.
_CLEARLY = 1.3
_ROUNDS = 7


def slow_first_layers(model: onnx.ModelProto, layers: Sequence[str]) -> Set[str]:
    """Those convolutions of *layers* that take clearly longer in INT8 than in float and have no layer before them.

    ONNX Runtime's integer kernel takes twice as long for three channels of a picture as the float one, for instance.
    Later layers are not looked at: between INT8 ones a way to float and back costs more than a slow kernel.
    """
    known, shapes = constants(model.graph), _shapes(model)
    slow: Set[str] = set()
    behind_a_layer: Set[str] = set()
    for node in model.graph.node:
        is_first = not behind_a_layer.intersection(node.input)
        if is_first and node.name in layers and node.op_type == "Conv" and node.input[0] in shapes:
            floats, integers = _times(node, np.asarray(known[node.input[1]]).shape, shapes[node.input[0]])
            if integers > _CLEARLY * floats:
                slow.add(node.name)
        if not is_first or node.name in layers:
            behind_a_layer.update(node.output)
    return slow


def _shapes(model: onnx.ModelProto) -> Dict[str, List[int]]:
    """Of all tensors that shape inference knows but for the batch, which is one."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if len(dims) == 4 and all(dims[1:]):
            shapes[value.name] = [1, *dims[1:]]
    return shapes


def _times(node: onnx.NodeProto, weights: Tuple[int, ...], shape: Sequence[int]) -> Tuple[float, float]:
    """Seconds that the layer takes in float and in INT8, taken in turns."""
    kept = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    floats = helper.make_node("Conv", ["x", "w"], ["y"], **kept)
    grid = ("s", "z")
    integers = helper.make_node("QLinearConv", ["x", *grid, "w", "s", "wz", *grid], ["y"], **kept)
    random = np.random.default_rng(0)
    integer_weights = random.integers(-127, 128, weights).astype(np.int8)
    numbers: Dict[str, NDArray[Any]] = {
        "s": np.array(0.01, np.float32),
        "z": np.array(128, np.uint8),
        "wz": np.array(0, np.int8),
        "w": integer_weights,
    }
    pixels = random.integers(0, 256, shape).astype(np.uint8)
    runs = [
        (
            _session(floats, TensorProto.FLOAT, shape, {"w": integer_weights.astype(np.float32)}),
            pixels.astype(np.float32),
        ),
        (_session(integers, TensorProto.UINT8, shape, numbers), pixels),
    ]
    best = [np.inf, np.inf]
    for _ in range(_ROUNDS):
        for index, (session, given) in enumerate(runs):
            start = time.perf_counter()
            session.run(None, {"x": given})
            best[index] = min(best[index], time.perf_counter() - start)
    return best[0], best[1]


def _session(node: onnx.NodeProto, kind: int, shape: Sequence[int], weights: Mapping[str, NDArray[Any]]) -> Any:
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as sightd's engine computes
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
