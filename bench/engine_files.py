"""ONNX Runtime engine files for the benches, built as the converter builds them."""

from __future__ import annotations

from pathlib import Path
from typing import AbstractSet

import onnx

from converter.builders.base import Calibration
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.int8.ranges import Ranges
from converter.search import Recipe

__all__ = ["write_float", "write_int8"]

_BUILDER = OnnxRuntimeBuilder()


def write_float(finished: onnx.ModelProto, file: Path) -> None:
    """The finished graph as it is."""
    _BUILDER.build_float(finished, "fp32", file)


def write_int8(
    finished: onnx.ModelProto, ranges: Ranges, recipe: Recipe, float_nodes: AbstractSet[str], file: Path
) -> None:
    """The finished graph in INT8 all but for *float_nodes*."""
    calibration = Calibration(ranges, lambda: iter(()), 0, "")
    _BUILDER.build_int8(finished, calibration, recipe, float_nodes, file)
