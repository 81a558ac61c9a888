"""The inputs that an export asks for, brought to one: the picture."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["with_one_input"]

#: What RT-DETR, D-FINE and DEIM scale their boxes by, [batch, 2] width and height: their postprocessing.
_SIZES = ("orig_target_sizes", "orig_target_size")


def with_one_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """*model*, or a copy without the inputs that a constant can stand for.

    The picture's size becomes that of the model's input, where the graph has it fixed: boxes then are in input pixels.
    All else stays as it is.
    """
    weights = {weight.name for weight in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    pictures = [value for value in given if len(value.type.tensor_type.shape.dim) == 4]
    sizes = [value for value in given if value.name in _SIZES]
    if len(pictures) != 1 or not sizes or not all(_width_height(pictures[0])):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for size in sizes:
        dtype = helper.tensor_dtype_to_np_dtype(size.type.tensor_type.elem_type)
        # One row serves any batch: it is only multiplied with boxes [batch, queries, 4].
        row = np.array([_width_height(pictures[0])], dtype)
        copy.graph.initializer.append(numpy_helper.from_array(row, size.name))
        copy.graph.input.remove(size)
    return copy


def _width_height(picture: onnx.ValueInfoProto) -> Tuple[int, int]:
    """0 where the graph leaves it open."""
    sizes = [dim.dim_value for dim in picture.type.tensor_type.shape.dim]
    return (sizes[3], sizes[2]) if sizes[1] == 3 else (sizes[2], sizes[1])
