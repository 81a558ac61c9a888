"""What a block of the graph's picture is called: operators by the names that people use."""

from __future__ import annotations

from typing import Iterable, Mapping, Sequence

import onnx
from onnx import helper

__all__ = ["gate_name", "joined", "operator_title"]

_MOST = 3
#: A tensor times a function of itself, by the operators on both ways to the product, sorted.
_GATES = {
    ("Sigmoid",): "SiLU",
    ("HardSigmoid",): "HardSwish",
    ("Add", "Clip", "Mul"): "HardSwish",
    ("Add", "Clip", "Div"): "HardSwish",
    ("Softplus", "Tanh"): "Mish",
    ("Add", "Div", "Erf"): "GELU",
    ("Add", "Erf", "Mul"): "GELU",
}


def gate_name(operators: Iterable[str]) -> str:
    """The activation that multiplies a tensor with a function of itself, by that function's *operators*; else ""."""
    return _GATES.get(tuple(sorted(operators)), "")


def operator_title(node: onnx.NodeProto, weights: Mapping[str, Sequence[int]]) -> str:
    """The operator with what tells it from others of its kind: "Conv 3×3 /2"."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    dims = list(weights.get(node.input[1], ())) if len(node.input) > 1 else []
    kernel = given.get("kernel_shape") or (dims[2:] if "Conv" in node.op_type else [])
    words = [str(node.op_type)]
    if node.op_type == "Conv" and given.get("group", 1) > 1:
        words[0] = "Depthwise" if dims[1:2] == [1] else "Grouped conv"
    if kernel:
        words.append("×".join(map(str, kernel)))
    strides = given.get("strides") or [1]
    if max(strides) > 1:
        words.append(f"/{max(strides)}")
    return " ".join(words)


def joined(words: Iterable[str]) -> str:
    """The words once each where they repeat, and not too many."""
    told = [word for word in words if word]
    kept = [word for place, word in enumerate(told) if place == 0 or word != told[place - 1]]
    return " ".join(kept[:_MOST]) + (" …" if len(kept) > _MOST else "")
