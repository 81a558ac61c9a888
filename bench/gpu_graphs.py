"""Writes a model's graph, as its authors left it, for PyTorch in another interpreter: one .npz of nodes, weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from .models import RealModel

__all__ = ["write_graph"]

#: What gpu_torch.py turns into PyTorch's operators.
_KNOWN = {"Add", "Concat", "Conv", "MaxPool", "Mul", "Reshape", "Resize", "Sigmoid", "Slice", "Transpose"}


def write_graph(model: RealModel, file: Path) -> bool:
    """Whether *file* was written; not where PyTorch has no equal operator for one of the model's."""
    given = model.load()
    if {node.op_type for node in given.graph.node} - _KNOWN:
        return False
    entry = given.graph.input[0]
    shape = [dimension.dim_value for dimension in entry.type.tensor_type.shape.dim][1:]
    picture = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype(np.float32)
    session = onnxruntime.InferenceSession(given.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays: Dict[str, Any] = {
        f"weight{index}": numpy_helper.to_array(weight) for index, weight in enumerate(given.graph.initializer)
    }
    for index, expected in enumerate(session.run(None, {entry.name: picture})):
        arrays[f"expected{index}"] = expected
    graph = {
        "input": entry.name,
        "shape": shape,
        "outputs": [output.name for output in given.graph.output],
        "weights": [weight.name for weight in given.graph.initializer],
        "nodes": [_described(node) for node in given.graph.node],
    }
    np.savez(file, graph=json.dumps(graph), picture=picture, **arrays)
    return True


def _described(node: onnx.NodeProto) -> Dict[str, Any]:
    attributes = {one.name: _plain(helper.get_attribute_value(one)) for one in node.attribute}
    return {
        "operator": node.op_type,
        "inputs": list(node.input),
        "output": node.output[0],
        "attributes": attributes,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, int, float)):
        return value.decode() if isinstance(value, bytes) else value
    return list(value)
