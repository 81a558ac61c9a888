"""INT8 as explicit Q/DQ: quantise/dequantise pairs around layers, with our own ranges.

Every INT8 node reads dequantised tensors, and for ONNX Runtime its result is quantised at once: that is what becomes an
integer kernel. A result has one pair, which its float readers use too; a second, float, path out of a layer would
prevent the fusion.
"""

from __future__ import annotations

from typing import AbstractSet, Dict, List, Optional

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..model.graph import drop_unused_weights
from .numbers import Affine, activation, bias, constant, weights
from .plan import WEIGHT_AXIS, Plan, plan_int8
from .ranges import Ranges
from .silu import fuse_silu
from .targets import Target

__all__ = ["quantize"]

#: A bias may need so large a number that it does not fit INT32; the weights' scale is then raised until it does.
_BIAS_LIMIT = 2.0**30


def quantize(
    model: onnx.ModelProto,
    ranges: Ranges,
    *,
    algorithm: str,
    float_nodes: AbstractSet[str],
    scope: str,
    target: Target,
) -> onnx.ModelProto:
    """A copy of *model* with Q/DQ pairs around all that can be INT8.

    :param algorithm: one of converter.int8.clipping.ALGORITHMS.
    :param float_nodes: names of nodes that stay as they are.
    :param scope: "all" or "conv" (see :func:`converter.int8.plan.plan_int8`).
    :raises CalibrationError: *ranges* lack a tensor.
    """
    source = fuse_silu(model) if target.fuse_silu else model
    return _Writer(source, plan_int8(source, float_nodes, scope), ranges, algorithm, target).written()


class _Writer:
    """Rewrites one graph; *plan* keeps looking at the original."""

    def __init__(self, model: onnx.ModelProto, plan: Plan, ranges: Ranges, algorithm: str, target: Target) -> None:
        self._original, self._plan, self._target = model, plan, target
        self._ranges, self._algorithm = ranges, algorithm
        self._affines: Dict[str, Affine] = {}
        #: Tensor -> its Q/DQ pair, in the order in which they were asked for.
        self._pairs: Dict[str, List[onnx.NodeProto]] = {}
        self._constants: List[onnx.NodeProto] = []
        self._initializers: List[onnx.TensorProto] = []

    def written(self) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self._original)
        for node in model.graph.node:
            if self._plan.is_int8(node):
                self._rewrite(node)
            else:
                self._read_dequantised(node)
        ordered = self._with_pairs(list(model.graph.node))
        del model.graph.node[:]
        model.graph.node.extend([*self._constants, *ordered])
        model.graph.initializer.extend(self._initializers)
        del model.graph.value_info[:]
        drop_unused_weights(model.graph)
        return model

    def _rewrite(self, node: onnx.NodeProto) -> None:
        if node.op_type in WEIGHT_AXIS:
            self._rewrite_layer(node)
        else:
            for index, tensor in enumerate(node.input):
                if self._is_activation(node, tensor):
                    node.input[index] = self._dequantised(tensor)
                elif node.op_type in ("Add", "Mul", "Concat") and tensor in self._plan.constants:
                    values, affine = constant(np.asarray(self._plan.constants[tensor], np.float32), self._target)
                    node.input[index] = self._constant(f"{node.name}/operand{index}", values, affine)
        for tensor in node.output if self._target.quantize_results else ():
            if self._plan.consumers.get(tensor) and not self._plan.is_fused(tensor):
                self._dequantised(tensor)

    def _rewrite_layer(self, node: onnx.NodeProto) -> None:
        tensor = node.input[0]
        entry = float(self._affine(tensor).scale)
        axis = _weight_axis(node)
        values = np.asarray(self._plan.constants[node.input[1]], np.float32)
        offsets = self._bias_of(node)
        least = np.zeros(())
        if offsets is not None:
            peak = np.abs(offsets.astype(np.float64))
            least = (peak if self._target.per_channel else peak.max()) / (entry * _BIAS_LIMIT)
        quantised, affine = weights(values, axis, self._target, least)
        node.input[0] = self._dequantised(tensor)
        node.input[1] = self._constant(f"{node.name}/weights", quantised, affine, axis)
        if offsets is not None:
            sums, scale = bias(offsets, entry * affine.scale.astype(np.float64))
            node.input[2] = self._constant(f"{node.name}/bias", sums, scale, 0)

    def _bias_of(self, node: onnx.NodeProto) -> Optional[NDArray[np.float32]]:
        """The layer's bias where the target wants it quantised."""
        if not self._target.quantize_bias or len(node.input) < 3 or node.input[2] not in self._plan.constants:
            return None
        return np.asarray(self._plan.constants[node.input[2]], np.float32)

    def _read_dequantised(self, node: onnx.NodeProto) -> None:
        for index, tensor in enumerate(node.input):
            made = self._plan.producer.get(tensor)
            if made is not None and self._plan.is_int8(made) and self._target.quantize_results:
                node.input[index] = self._dequantised(tensor)

    def _is_activation(self, node: onnx.NodeProto, tensor: str) -> bool:
        made = self._plan.producer.get(tensor)
        return made is not None and self._plan.is_int8(made) and not self._plan.is_fused(tensor)

    def _dequantised(self, tensor: str) -> str:
        """The name of *tensor* after its Q/DQ pair, which is made when it is first asked for."""
        name = f"{tensor}/dequantised"
        if tensor not in self._pairs:
            affine = self._affine(tensor)
            arguments = self._parameters(tensor, affine)
            self._pairs[tensor] = [
                helper.make_node("QuantizeLinear", [tensor, *arguments], [f"{tensor}/int8"], f"{tensor}/quantise"),
                helper.make_node("DequantizeLinear", [f"{tensor}/int8", *arguments], [name], f"{tensor}/dequantise"),
            ]
        return name

    def _constant(self, name: str, values: NDArray[np.integer], affine: Affine, axis: int = 0) -> str:
        """The name of a dequantised constant."""
        arguments = self._parameters(name, affine)
        self._initializers.append(numpy_helper.from_array(values, f"{name}/int8"))
        node = helper.make_node("DequantizeLinear", [f"{name}/int8", *arguments], [name], f"{name}/dequantise")
        if affine.scale.ndim:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._constants.append(node)
        return name

    def _parameters(self, name: str, affine: Affine) -> List[str]:
        self._initializers.append(numpy_helper.from_array(affine.scale, f"{name}/scale"))
        self._initializers.append(numpy_helper.from_array(affine.zero_point, f"{name}/zero_point"))
        return [f"{name}/scale", f"{name}/zero_point"]

    def _affine(self, tensor: str) -> Affine:
        source = self._plan.shares_range_with(tensor)
        if source not in self._affines:
            low, high = self._ranges.bounds(source, self._algorithm, self._target.symmetric)
            self._affines[source] = activation(low, high, self._target)
        return self._affines[source]

    def _with_pairs(self, nodes: List[onnx.NodeProto]) -> List[onnx.NodeProto]:
        """*nodes* with each pair right behind what makes its tensor."""
        made = {tensor for node in nodes for tensor in node.output}
        ordered = [pair for tensor, nodes_of in self._pairs.items() if tensor not in made for pair in nodes_of]
        for node in nodes:
            ordered.append(node)
            for tensor in node.output:
                ordered += self._pairs.get(tensor, [])
        return ordered


def _weight_axis(node: onnx.NodeProto) -> int:
    """The axis of the output channels in the weights of *node*."""
    if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
        return 1
    return WEIGHT_AXIS[node.op_type]
