"""A finished graph (see DESIGN: uint8 NHWC in, candidates out) small enough to reason about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightd.types import InputSpec

__all__ = ["bright_cells", "bright_quadrants"]


def bright_quadrants(path: Path, spec: InputSpec) -> Path:
    """:func:`bright_cells` of 2 x 2: classes 0 to 3."""
    return bright_cells(path, spec, 2, 2)


def bright_cells(path: Path, spec: InputSpec, columns: int, rows: int) -> Path:
    """Write a graph that "finds" the cells of a grid over its input, scored by their mean brightness / 255.

    Boxes are the cells in input pixels, classes 0, 1, ... in reading order, candidates best first.
    """
    count, w, h = columns * rows, spec.width // columns, spec.height // rows
    corners = [(column * w, row * h) for row in range(rows) for column in range(columns)]
    boxes = np.array([[x, y, x + w, y + h] for x, y in corners], np.float32)[None]
    constants = {
        "all_boxes": boxes,
        "k": np.array([count], np.int64),
        "scale": np.array(1 / 255, np.float32),
        "flat": np.array([0, count], np.int64),
        "column": np.array([0, count, 1], np.int64),
        "one": np.array([1], np.int64),
        "four": np.array([1, 1, 4], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Unsqueeze", ["grey", "one"], ["plane"]),
        helper.make_node("AveragePool", ["plane"], ["quads"], kernel_shape=[h, w], strides=[h, w]),
        helper.make_node("Mul", ["quads", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["all_scores"]),
        helper.make_node("TopK", ["all_scores", "k"], ["scores", "order"], axis=1),
        helper.make_node("Cast", ["order"], ["classes"], to=TensorProto.INT32),
        helper.make_node("Reshape", ["order", "column"], ["order_column"]),
        helper.make_node("Expand", ["order_column", "four"], ["order_boxes"]),
        helper.make_node("Shape", ["order_boxes"], ["order_shape"]),
        helper.make_node("Expand", ["all_boxes", "order_shape"], ["boxes_n"]),
        helper.make_node("GatherElements", ["boxes_n", "order_boxes"], ["boxes"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "bright_cells",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", spec.height, spec.width, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count]),
            helper.make_tensor_value_info("classes", TensorProto.INT32, ["N", count]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
