"""Which nodes of a graph compute in INT8, given those that must stay float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import AbstractSet, Dict, List, Mapping, Set

import numpy as np
import onnx
from numpy.typing import NDArray

from ..model.graph import constants
from .silu import SILU

__all__ = ["WEIGHT_AXIS", "Plan", "layers", "plan_int8", "watched_tensors"]

#: Operators with weights and an integer kernel -> the axis of the output channels in the weights.
WEIGHT_AXIS: Mapping[str, int] = {"Conv": 0, "Gemm": 0, "MatMul": 1}
#: What comes out is what went in: one range on both sides, or the values would be rounded twice.
_MOVING = frozenset(
    [
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
#: Fused into the layer before: no pair between the two.
_CLAMPING = frozenset(["Relu", "Clip"])
#: Computed in INT8 where all inputs are INT8 already, so that values need not return to float between two layers.
_COMPUTING = frozenset(["Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid", SILU])


@dataclass(frozen=True)
class Plan:
    """The decision about one graph."""

    #: Names of the nodes that compute in INT8.
    int8: AbstractSet[str]
    #: Tensor -> the node that makes it.
    producer: Mapping[str, onnx.NodeProto]
    #: Tensor -> the nodes that read it.
    consumers: Mapping[str, List[onnx.NodeProto]]
    constants: Mapping[str, NDArray[np.generic]]
    outputs: AbstractSet[str]

    def is_int8(self, node: onnx.NodeProto) -> bool:
        """Whether *node* computes in INT8."""
        return node.name in self.int8

    def is_fused(self, tensor: str) -> bool:
        """Whether *tensor* never leaves its layer: the only reader is a clamp in INT8 that is fused into it."""
        readers = self.consumers.get(tensor, [])
        made = self.producer.get(tensor)
        return (
            made is not None
            and self.is_int8(made)
            and made.op_type not in _MOVING
            and tensor not in self.outputs
            and len(readers) == 1
            and readers[0].op_type in _CLAMPING
            and self.is_int8(readers[0])
        )

    def shares_range_with(self, tensor: str) -> str:
        """The tensor whose range *tensor* takes over, for it only moves that one's values; else itself."""
        made = self.producer.get(tensor)
        if made is None or not self.is_int8(made) or made.op_type not in _MOVING:
            return tensor
        return self.shares_range_with(made.input[0])


def layers(model: onnx.ModelProto, float_nodes: AbstractSet[str]) -> List[str]:
    """The names of the layers with weights that can be INT8, in the graph's order."""
    known = constants(model.graph)
    return [node.name for node in model.graph.node if node.name not in float_nodes and _is_layer(node, known)]


def watched_tensors(model: onnx.ModelProto, float_nodes: AbstractSet[str]) -> List[str]:
    """The tensors whose ranges :func:`plan_int8` may need when *float_nodes*, or more, stay float."""
    plan = plan_int8(model, float_nodes, "all")
    touched: Dict[str, None] = {}
    for node in model.graph.node:
        if plan.is_int8(node):
            touched.update(dict.fromkeys(_activations(node, plan.constants)))
            touched.update(dict.fromkeys(node.output))
    return list(touched)


def plan_int8(model: onnx.ModelProto, float_nodes: AbstractSet[str], scope: str) -> Plan:
    """Decide for every node of *model*.

    :param scope: "all" computes between the layers in INT8 too, "conv" only in them.
    """
    known = constants(model.graph)
    producer = {tensor: node for node in model.graph.node for tensor in node.output}
    consumers: Dict[str, List[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            consumers.setdefault(tensor, []).append(node)
    int8: Set[str] = set()
    made_by_int8: Set[str] = set()
    for node in model.graph.node:
        if node.name not in float_nodes and _can_be_int8(node, known, made_by_int8, scope):
            int8.add(node.name)
            made_by_int8.update(node.output)
    for node in reversed(model.graph.node):
        if not _pays(node, int8, producer, consumers):
            int8.discard(node.name)
    outputs = {value.name for value in model.graph.output}
    return Plan(int8, producer, consumers, known, outputs)


def _pays(
    node: onnx.NodeProto,
    int8: AbstractSet[str],
    producer: Mapping[str, onnx.NodeProto],
    consumers: Mapping[str, List[onnx.NodeProto]],
) -> bool:
    """Whether INT8 in *node* saves a way to float and back: not where only float follows.

    ONNX Runtime was seen to need 25 times as long for a MaxPool of SPP left in INT8 before a float layer.
    """
    if node.op_type in WEIGHT_AXIS:
        return True
    if node.op_type in _CLAMPING and node.input[0] in producer and producer[node.input[0]].op_type in WEIGHT_AXIS:
        return True  # fused, it costs nothing
    return any(reader.name in int8 for tensor in node.output for reader in consumers.get(tensor, []))


def _can_be_int8(
    node: onnx.NodeProto, known: Mapping[str, NDArray[np.generic]], made_by_int8: AbstractSet[str], scope: str
) -> bool:
    if node.op_type in WEIGHT_AXIS:
        return _is_layer(node, known)
    if node.op_type in _MOVING | _CLAMPING:
        return node.input[0] in made_by_int8
    if scope != "all" or node.op_type not in _COMPUTING:
        return False
    inputs = _activations(node, known)
    others = [known[tensor] for tensor in node.input if tensor in known]
    return bool(inputs) and all(i in made_by_int8 for i in inputs) and all(o.dtype == np.float32 for o in others)


def _is_layer(node: onnx.NodeProto, known: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether *node* has constant weights, of two dimensions where the node does not convolve."""
    if node.op_type not in WEIGHT_AXIS or node.input[1] not in known:
        return False
    return node.op_type == "Conv" or known[node.input[1]].ndim == 2


def _activations(node: onnx.NodeProto, known: Mapping[str, NDArray[np.generic]]) -> List[str]:
    """The inputs that carry activations, not weights, shapes or limits."""
    if node.op_type in WEIGHT_AXIS or node.op_type in _MOVING | _CLAMPING:
        return [node.input[0]]
    return [tensor for tensor in node.input if tensor and tensor not in known]
