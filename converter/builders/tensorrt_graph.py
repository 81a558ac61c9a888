"""The finished graph as TensorRT gets it: which nodes need exact numbers, half precision, a float input."""

from __future__ import annotations

from typing import AbstractSet, List, Set

import onnx
from onnx import TensorProto

from sightd.errors import BuildError

from ..int8.plan import layers
from ..model.ends import INPUT
from ..model.graph import OUR_PREFIX
from ..model.tail import head_nodes

__all__ = ["decoding_nodes", "in_half", "with_float_input"]

#: What finishing puts before or into the model itself; 0..255 is exact in FP16.
_BEFORE = (f"{OUR_PREFIX}input/", f"{OUR_PREFIX}batch/")
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")


def decoding_nodes(finished: onnx.ModelProto) -> Set[str]:
    """The nodes that make boxes of predictions and choose among them.

    FP16 has 11 bits: from 2048 on its pixels are 2 wide, and scores of neighbours become equal.
    """
    behind = head_nodes(finished) - set(layers(finished, set()))
    return {name for name in behind if not name.startswith(_BEFORE)}


def in_half(model: onnx.ModelProto, exact: AbstractSet[str]) -> onnx.ModelProto:
    """A copy of *model* in FP16 but for the nodes *exact*, its inputs and outputs; casts stand between.

    Q/DQ pairs stay as they are: with scales in FP16, small weights would lose theirs.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    pairs = [node.name for node in copy.graph.node if node.op_type in _QUANTISING]
    half: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True, node_block_list=[*sorted(exact), *pairs])
    _sort(half.graph)
    return half


def with_float_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the finished *model* that takes the same pictures as float32 0..255."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    casts = [node for node in copy.graph.node if INPUT in node.input]
    if [node.op_type for node in casts] != ["Cast"]:
        found = ", ".join(node.op_type for node in casts)
        raise BuildError(f"the graph's input goes into {found}, not into one Cast: it was not finished by this sightd")
    copy.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    pixels = casts[0].output[0]
    copy.graph.node.remove(casts[0])
    for node in copy.graph.node:
        node.input[:] = [INPUT if tensor == pixels else tensor for tensor in node.input]
    return copy


def _sort(graph: onnx.GraphProto) -> None:
    """The nodes in the order of computing, in place; the conversion puts its casts anywhere."""
    made = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        later: List[onnx.NodeProto] = []
        for node in waiting:
            if all(tensor in made for tensor in node.input):
                made.update(node.output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise BuildError(f"node {later[0].name} reads what nothing makes: please report this with the model's name")
        waiting = later
    del graph.node[:]
    graph.node.extend(ordered)
