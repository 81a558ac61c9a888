"""The tail of a detector: its last convolutions and all that lies behind them, which INT8 leaves in float."""

from __future__ import annotations

from typing import Dict, FrozenSet, Set

import numpy as np
import onnx

from .graph import OUR_PREFIX, constants
from .surgery import reads

__all__ = ["head_nodes", "operators_behind"]

_WEIGHING = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: What comes out tells nothing of the values that went in.
_VALUELESS = {"Shape", "Size"}
#: Centre and size times this are corners, as exports for DeepStream and YOLOv7's with NMS compute them.
_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
_MOVING = {"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def head_nodes(model: onnx.ModelProto) -> Set[str]:
    """Names of the nodes that INT8 must keep float: prediction layers, all behind them, and all that sightd added.

    A prediction layer is a convolution (or a product with weights) with no other on one of its ways to the
    outputs: the boxes of DETR's earlier decoder layers, which the next layers refine, are predicted by such too.
    The model is a finished one, or at least one whose nodes all have names.
    """
    tail = _tail(model.graph, _convolutions(model.graph))
    return tail | {node.name for node in model.graph.node if node.name.startswith(OUR_PREFIX)}


def operators_behind(model: onnx.ModelProto) -> Dict[str, FrozenSet[str]]:
    """For each output the operators between the prediction layers and it."""
    convolutions = _convolutions(model.graph)
    behind = _tail(model.graph, convolutions) - convolutions
    found: Dict[str, FrozenSet[str]] = {}
    for node in model.graph.node:
        if node.name in behind:
            before: FrozenSet[str] = frozenset().union(*(found.get(tensor, ()) for tensor in reads(node)))
            found.update(dict.fromkeys(node.output, before | {node.op_type}))
    return {value.name: found.get(value.name, frozenset()) for value in model.graph.output}


def _tail(graph: onnx.GraphProto, convolutions: Set[str]) -> Set[str]:
    """The nodes whose values reach an output without passing another of *convolutions*, these included."""
    reaching = {value.name for value in graph.output}
    tail = set()
    for node in reversed(graph.node):
        if reaching.intersection(node.output):
            tail.add(node.name)
            if node.name not in convolutions and node.op_type not in _VALUELESS:
                reaching.update(reads(node))
    return tail


def _convolutions(graph: onnx.GraphProto) -> Set[str]:
    """The nodes that weigh what they get.

    Two only compute with what others predict: the fixed convolution of a distribution focal loss (DFL), the mean over
    a Softmax, and the product with a matrix that makes corners of centre and size.
    """
    softened: Set[str] = set()
    corners = {name for name, value in constants(graph).items() if np.array_equal(value, _CORNERS)}
    found = set()
    for node in graph.node:
        if node.op_type == "Softmax" or (node.op_type in _MOVING and node.input[0] in softened):
            softened.update(node.output)
        elif node.op_type in _WEIGHING and node.input[0] not in softened and node.input[1] not in corners:
            found.add(node.name)
    return found
