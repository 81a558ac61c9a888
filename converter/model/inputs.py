"""The inputs that an export asks for, brought to one: a picture in float32."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .surgery import OUR_PREFIX

__all__ = ["with_one_input"]

#: What RT-DETR, D-FINE and DEIM scale their boxes by, [batch, 2] width and height: their postprocessing.
_SIZES = ("orig_target_sizes", "orig_target_size")


def with_one_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """*model*, or a copy without the inputs that a constant can stand for and with the picture in float32.

    The picture's size becomes that of the model's input, where the graph has it fixed: boxes then are in input pixels.
    A picture in uint8 becomes float32 where the graph begins by casting it. All else stays as it is.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {weight.name for weight in copy.graph.initializer}
    given = [value for value in copy.graph.input if value.name not in weights]
    pictures = [value for value in given if len(value.type.tensor_type.shape.dim) == 4]
    if len(pictures) != 1:
        return model
    changed = [_fix_size(copy.graph, value, pictures[0]) for value in given if value.name in _SIZES]
    changed.append(_make_float(copy.graph, pictures[0]))
    return copy if any(changed) else model


def _fix_size(graph: onnx.GraphProto, size: onnx.ValueInfoProto, picture: onnx.ValueInfoProto) -> bool:
    """Put the picture's width and height in the place of the input *size*, if the graph knows them."""
    width_height = _width_height(picture)
    if not all(width_height):
        return False
    dtype = helper.tensor_dtype_to_np_dtype(size.type.tensor_type.elem_type)
    # One row serves any batch: it is only multiplied with boxes [batch, queries, 4].
    graph.initializer.append(numpy_helper.from_array(np.array([width_height], dtype), size.name))
    graph.input.remove(size)
    return True


def _make_float(graph: onnx.GraphProto, picture: onnx.ValueInfoProto) -> bool:
    """Let a picture in uint8 come in float32: the cast that reads it then changes nothing."""
    if picture.type.tensor_type.elem_type != TensorProto.UINT8:
        return False
    readers = [node for node in graph.node if picture.name in node.input]
    if not readers or not all(_casts_to_float(node) for node in readers):
        return False
    picture.type.tensor_type.elem_type = TensorProto.FLOAT
    return True


def _casts_to_float(node: onnx.NodeProto) -> bool:
    """Whether a model's own *node* does; a graph that sightd has finished keeps its uint8."""
    to: List[int] = [attribute.i for attribute in node.attribute if attribute.name == "to"]
    return node.op_type == "Cast" and to == [TensorProto.FLOAT] and not node.name.startswith(OUR_PREFIX)


def _width_height(picture: onnx.ValueInfoProto) -> Tuple[int, int]:
    """0 where the graph leaves it open."""
    sizes = [dim.dim_value for dim in picture.type.tensor_type.shape.dim]
    return (sizes[3], sizes[2]) if sizes[1] == 3 else (sizes[2], sizes[1])
