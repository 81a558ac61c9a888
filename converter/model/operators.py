"""Operators that no engine of ours knows, named with the node that uses them before anything else fails on them."""

from __future__ import annotations

import onnx

from sightd.errors import ModelError

from .surgery import all_nodes

__all__ = ["check_operators"]

_ONNX = ("", "ai.onnx")
#: ONNX Runtime brings these itself; it says which of them it lacks.
_RUNTIME = ("ai.onnx.ml", "com.microsoft")


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse operators of foreign domains, and names that ONNX does not have.

    :raises ModelError: names the operator, the node and what to do.
    """
    own = {(function.domain, function.name) for function in model.functions}
    for node in all_nodes(model.graph):
        known = (node.domain, node.op_type) in own or node.domain in _RUNTIME
        if not known and not (node.domain in _ONNX and onnx.defs.has(node.op_type)):
            operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise ModelError(
                f"node {(node.name or node.output[0])!r} uses the operator {operator}, which is none of ONNX's: a "
                "plugin or a custom layer. Export the model without it: NMS and decoding are added here, so leave them "
                "out of the export; build anything else from standard layers"
            )
