"""A graph as INT8 wants it: what stands between the layers for no reason is folded away.

A batch normalisation, a Transpose, or a mean that only exists in float costs an INT8 engine a way to float and
back. ONNX Runtime folds such things when it loads a float model, but not all of them between Q/DQ pairs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper

from .graph import normalise

__all__ = ["simplify"]

_FATAL = 4  # what fails is raised; ONNX Runtime would print it as well


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the finished *model* that computes the same; nodes and tensors inside may have other names."""
    simplified = normalise(_basically_optimised(model))
    del simplified.opset_import[:]  # ONNX Runtime names every operator set that it knows
    simplified.opset_import.extend(model.opset_import)
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in onnx.shape_inference.infer_shapes(simplified).graph.value_info
    }
    for node in simplified.graph.node:
        if _is_spatial_mean(node) and ranks.get(node.input[0]) == 4:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
    return simplified


def _basically_optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """What ONNX Runtime's "basic" optimisations leave: ONNX's own operators, fit for any machine."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(file)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(str(file))


def _is_spatial_mean(node: onnx.NodeProto) -> bool:
    """Whether *node* is the mean over height and width of [N, C, H, W] that keeps these dimensions."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return (
        node.op_type == "ReduceMean"
        and list(given.get("axes", [])) in ([2, 3], [-2, -1])
        and given.get("keepdims", 1) == 1
    )
