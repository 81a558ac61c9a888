"""A later opset brought down to the one that every engine reads, node by node.

ONNX's own converter has no way down for Split and Pad, which nearly every detector uses. Most operators did not
change but in the types that they take: a node that uses nothing new is valid under the older version as it stands.
What comes out is compared with the model as it was by :func:`converter.model.finish.finish`.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Optional

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sightd.errors import ModelError

__all__ = ["lower"]

_DOMAINS = ("", "ai.onnx")


def lower(model: onnx.ModelProto, opset: int, target: int) -> onnx.ModelProto:
    """A copy of *model*, which has *opset*, with the earlier *target*.

    :raises ModelError: a node does what *target* has no operator for; names it.
    """
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    _Lowering(lowered, opset, target).graph(lowered.graph)
    for entry in lowered.opset_import:
        if entry.domain in _DOMAINS:
            entry.version = target
    return lowered


class _Lowering:
    """Changes nodes in place; bodies of If and Loop included."""

    def __init__(self, model: onnx.ModelProto, opset: int, target: int) -> None:
        self._opset, self._target = opset, target
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        #: Tensor -> its sides, 0 where one is open.
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
            if value.type.tensor_type.HasField("shape")
        }

    def graph(self, graph: onnx.GraphProto) -> None:
        constants = {weights.name: weights for weights in graph.initializer}
        constants.update(
            (node.output[0], attribute.t)
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        )
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    self.graph(attribute.g)
            if node.domain in _DOMAINS:
                rule = _RULES.get(node.op_type)
                if rule is not None:
                    rule(node, graph, constants, self._shapes)
                self._check(node)

    def _check(self, node: onnx.NodeProto) -> None:
        """Drop attributes that say what went without saying; then nothing may be left that *target* lacks."""
        new = onnx.defs.get_schema(node.op_type, self._opset)
        try:
            old = onnx.defs.get_schema(node.op_type, self._target)
        except onnx.defs.SchemaError:
            old = None
        if old is not None and old.since_version == new.since_version:
            return
        for attribute in list(node.attribute):
            if attribute.name in new.attributes and (old is None or attribute.name not in old.attributes):
                default = new.attributes[attribute.name].default_value
                if helper.get_attribute_value(attribute) == helper.get_attribute_value(default):
                    node.attribute.remove(attribute)
        if old is None or len(node.input) > old.max_input or any(a.name not in old.attributes for a in node.attribute):
            raise ModelError(
                f"the model has opset {self._opset} and can't be converted to {self._target}, which has no "
                f"{node.op_type} as node {(node.name or node.output[0])!r} uses it: "
                f"export it again with opset 13 to {self._target}"
            )


_Constants = Mapping[str, onnx.TensorProto]
_Shapes = Mapping[str, List[int]]


def _lower_split(node: onnx.NodeProto, graph: onnx.GraphProto, constants: _Constants, shapes: _Shapes) -> None:
    """num_outputs, 18: parts as large as possible and a smaller last one; earlier all are equal, or each is given."""
    parts = _take(node, "num_outputs")
    if parts is None or (len(node.input) > 1 and node.input[1]):
        return
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    length = (shapes.get(node.input[0]) or [0])[axis]
    if length % parts.i:
        most = -(-length // parts.i)
        sizes = np.array([*[most] * (parts.i - 1), length - most * (parts.i - 1)], np.int64)
        node.input[:] = [node.input[0], _constant(graph, node, "sizes", sizes)]


def _lower_reduction(node: onnx.NodeProto, graph: onnx.GraphProto, constants: _Constants, shapes: _Shapes) -> None:
    """The axes, an input since 18, an attribute before."""
    if len(node.input) > 1 and node.input[1] in constants:
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        _take(node, "noop_with_empty_axes")
        del node.input[1:]
        node.attribute.append(helper.make_attribute("axes", axes))


def _lower_pad(node: onnx.NodeProto, graph: onnx.GraphProto, constants: _Constants, shapes: _Shapes) -> None:
    """Which axes are padded, an input since 18: all are, before, some by nothing."""
    rank = len(shapes.get(node.input[0], []))
    if len(node.input) < 4 or not node.input[3] or node.input[1] not in constants or node.input[3] not in constants:
        return
    given = numpy_helper.to_array(constants[node.input[1]]).reshape(2, -1)
    pads = np.zeros((2, rank), np.int64)
    for place, axis in enumerate(numpy_helper.to_array(constants[node.input[3]]).tolist()):
        pads[:, axis] = given[:, place]
    node.input[1] = _constant(graph, node, "pads", pads.ravel())
    del node.input[3:]


def _lower_grid_sample(node: onnx.NodeProto, graph: onnx.GraphProto, constants: _Constants, shapes: _Shapes) -> None:
    """Two modes got other names with 20."""
    for attribute in node.attribute:
        if attribute.name == "mode":
            attribute.s = {b"linear": b"bilinear", b"cubic": b"bicubic"}.get(attribute.s, attribute.s)


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_RULES: Dict[str, Callable[[onnx.NodeProto, onnx.GraphProto, _Constants, _Shapes], None]] = {
    **{f"Reduce{name}": _lower_reduction for name in _REDUCTIONS},
    "GridSample": _lower_grid_sample,
    "Pad": _lower_pad,
    "Split": _lower_split,
}


def _take(node: onnx.NodeProto, name: str) -> Optional[onnx.AttributeProto]:
    """The attribute *name*, removed from *node*."""
    for attribute in node.attribute:
        if attribute.name == name:
            taken = onnx.AttributeProto()
            taken.CopyFrom(attribute)
            node.attribute.remove(attribute)
            return taken
    return None


def _constant(graph: onnx.GraphProto, node: onnx.NodeProto, what: str, value: NDArray[np.int64]) -> str:
    """The name of a new weight."""
    name = f"{node.output[0]}/{what}"
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name
