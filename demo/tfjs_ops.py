"""TensorFlow's operations as ONNX nodes, NHWC turned into NCHW: one small function an operation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Tuple, Union

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from sightd.errors import ModelError

__all__ = ["OPS", "FeatureMap", "OnnxGraph", "TfNode", "Value"]


@dataclass(frozen=True)
class TfNode:
    """A node of the TensorFlow graph, its attributes as plain values."""

    name: str
    op: str
    inputs: List[str]
    attributes: Dict[str, Any]


@dataclass(frozen=True)
class FeatureMap:
    """An activation in the ONNX graph: [batch, channels, height, width] float32."""

    name: str
    batch: int
    channels: int
    height: int
    width: int


#: What a TensorFlow node's input is here: an activation, or a constant in TensorFlow's layout.
Value = Union[FeatureMap, NDArray[Any]]


@dataclass
class OnnxGraph:
    """An ONNX graph under construction."""

    nodes: List[NodeProto] = field(default_factory=list)
    initializers: List[TensorProto] = field(default_factory=list)
    inputs: List[ValueInfoProto] = field(default_factory=list)
    outputs: List[ValueInfoProto] = field(default_factory=list)

    def add(self, op: str, inputs: List[str], **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        output = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        """Add *value* and return its name."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _convolution(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    """Conv2D, HWIO weights; with fused operations also its bias and activation."""
    kernel = _constant(node, inputs[1])
    return _conv(graph, node, inputs, kernel.transpose(3, 2, 0, 1), groups=1)


def _depthwise_convolution(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    """DepthwiseConv2dNative: weights [height, width, channels, multiplier], multiplier varies fastest in the output."""
    kernel = _constant(node, inputs[1])
    height, width, channels, multiplier = kernel.shape
    filters = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return _conv(graph, node, inputs, filters, groups=channels)


def _conv(graph: OnnxGraph, node: TfNode, inputs: List[Value], filters: NDArray[Any], groups: int) -> FeatureMap:
    source = _activation(node, inputs[0])
    if node.attributes.get("data_format", "NHWC") != "NHWC":
        raise _unsupported(node, "data_format is not NHWC")
    (height, top, bottom), (width, left, right) = (
        _extent(node, axis, size, filters.shape[axis + 1]) for axis, size in ((1, source.height), (2, source.width))
    )
    fused = node.attributes.get("fused_ops", [])
    bias = [graph.constant(_constant(node, inputs[2]))] if "BiasAdd" in fused else []
    name = graph.add(
        "Conv",
        [source.name, graph.constant(filters), *bias],
        kernel_shape=list(filters.shape[2:]),
        strides=node.attributes["strides"][1:3],
        dilations=node.attributes["dilations"][1:3],
        pads=[top, left, bottom, right],
        group=groups,
    )
    result = FeatureMap(name, source.batch, filters.shape[0], height, width)
    return _fused_activation(graph, node, fused, result)


def _extent(node: TfNode, axis: int, size: int, kernel: int) -> Tuple[int, int, int]:
    """Output size, padding before and after of a convolution along *axis* (1 height, 2 width).

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2: an odd pixel goes to the end.
    """
    stride, dilation = node.attributes["strides"][axis], node.attributes["dilations"][axis]
    reach = (kernel - 1) * dilation + 1
    if node.attributes["padding"] == "VALID":
        return (size - reach) // stride + 1, 0, 0
    if node.attributes["padding"] != "SAME":
        raise _unsupported(node, f"padding is {node.attributes['padding']}")
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + reach - size, 0)
    return outputs, padding // 2, padding - padding // 2


def _fused_activation(graph: OnnxGraph, node: TfNode, fused: List[str], source: FeatureMap) -> FeatureMap:
    for op in fused:
        if op == "BiasAdd":
            continue
        if op not in ("Relu", "Relu6"):
            raise _unsupported(node, f"fused with {op}")
        source = OPS[op](graph, node, [source])
    return source


def _relu(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    source = _activation(node, inputs[0])
    return replace(source, name=graph.add("Relu", [source.name]))


def _relu6(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    source = _activation(node, inputs[0])
    limits = [graph.constant(np.array(limit, np.float32)) for limit in (0, 6)]
    return replace(source, name=graph.add("Clip", [source.name, *limits]))


def _sigmoid(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    source = _activation(node, inputs[0])
    return replace(source, name=graph.add("Sigmoid", [source.name]))


def _identity(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    del graph
    return _activation(node, inputs[0])


def _elementwise(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    """Add and Mul: of two activations (one may be [batch, channels, 1, 1]), or of one and a scalar."""
    maps = [value for value in inputs if isinstance(value, FeatureMap)]
    if not maps:
        raise _unsupported(node, "both operands are constants")
    names = [value.name if isinstance(value, FeatureMap) else graph.constant(_scalar(node, value)) for value in inputs]
    largest = max(maps, key=lambda value: value.height * value.width)
    return replace(largest, name=graph.add(node.op, names))


def _mean(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    """Mean over height and width, dimensions kept: a global average pool."""
    source = _activation(node, inputs[0])
    if sorted(_constant(node, inputs[1]).tolist()) != [1, 2] or not node.attributes.get("keep_dims"):
        raise _unsupported(node, "not a mean over height and width with keep_dims")
    return replace(source, name=graph.add("GlobalAveragePool", [source.name]), height=1, width=1)


def _resize(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    source = _activation(node, inputs[0])
    if node.attributes.get("align_corners"):
        raise _unsupported(node, "align_corners")
    height, width = _constant(node, inputs[1]).tolist()
    scales = np.array([1, 1, height / source.height, width / source.width], np.float32)
    mode = "half_pixel" if node.attributes.get("half_pixel_centers") else "asymmetric"
    name = graph.add(
        "Resize", [source.name, "", graph.constant(scales)], mode="linear", coordinate_transformation_mode=mode
    )
    return replace(source, name=name, height=height, width=width)


def _concat(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> FeatureMap:
    maps = [_activation(node, value) for value in inputs[:-1]]
    if int(_constant(node, inputs[-1])) not in (3, -1):
        raise _unsupported(node, "not along the channels")
    name = graph.add("Concat", [value.name for value in maps], axis=1)
    return replace(maps[0], name=name, channels=sum(value.channels for value in maps))


def _activation(node: TfNode, value: Value) -> FeatureMap:
    if not isinstance(value, FeatureMap):
        raise _unsupported(node, "a constant where an activation is expected")
    return value


def _constant(node: TfNode, value: Value) -> NDArray[Any]:
    if isinstance(value, FeatureMap):
        raise _unsupported(node, "an activation where a constant is expected")
    return value


def _scalar(node: TfNode, value: NDArray[Any]) -> NDArray[Any]:
    if value.ndim:
        raise _unsupported(node, f"an operand is a constant of shape {value.shape}, not a scalar")
    return value


def _unsupported(node: TfNode, why: str) -> ModelError:
    return ModelError(f"TensorFlow operation {node.op} ({node.name}) is not supported in this form: {why}")


#: The operations that the importer knows.
OPS: Dict[str, Callable[[OnnxGraph, TfNode, List[Value]], FeatureMap]] = {
    "Add": _elementwise,
    "ConcatV2": _concat,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise_convolution,
    "FusedDepthwiseConv2dNative": _depthwise_convolution,
    "Identity": _identity,
    "Mean": _mean,
    "Mul": _elementwise,
    "Relu": _relu,
    "Relu6": _relu6,
    "ResizeBilinear": _resize,
    "Sigmoid": _sigmoid,
    "_FusedConv2D": _convolution,
}
