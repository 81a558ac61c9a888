"""One set of ranges, any target: the same graph with the Q/DQ pairs that ONNX Runtime or TensorRT wants."""

from __future__ import annotations

from typing import AbstractSet

import onnx

from ..search import Recipe
from .quantize import quantize
from .ranges import Ranges
from .targets import Target

__all__ = ["emit"]


def emit(
    model: onnx.ModelProto, ranges: Ranges, recipe: Recipe, target: Target, float_nodes: AbstractSet[str]
) -> onnx.ModelProto:
    """*model* in INT8 for *target* by *recipe*, whose float layers and all else that stays float are *float_nodes*.

    :raises CalibrationError: *ranges* lack a tensor.
    """
    return quantize(
        model,
        ranges,
        algorithm=recipe.algorithm,
        float_nodes=float_nodes,
        scope=recipe.scope,
        target=target,
    )
