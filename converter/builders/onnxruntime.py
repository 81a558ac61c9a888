"""Builds ONNX Runtime engines: the finished graph as it is, or with explicit Q/DQ for this machine."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import AbstractSet, Callable, List, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sightd.bundle import EngineRecord

from ..int8.emit import emit
from ..int8.ranges import Ranges
from ..int8.sensitivity import Damage, rank_layers
from ..int8.targets import this_machine
from ..search import Recipe

__all__ = ["KIND", "build_float", "build_int8", "rank", "record"]

#: The engine kind in the manifest.
KIND = "onnxruntime"
#: The order of the layers is the same by and large with any algorithm.
_RANKED_BY = "percentile-99.999"


def build_float(finished: onnx.ModelProto, file: Path) -> None:
    """Write the finished graph to *file*."""
    file.write_bytes(finished.SerializeToString())


def build_int8(
    finished: onnx.ModelProto, ranges: Ranges, recipe: Recipe, float_nodes: AbstractSet[str], file: Path
) -> None:
    """Write the graph with Q/DQ pairs around all but *float_nodes* to *file*."""
    file.write_bytes(emit(finished, ranges, recipe, this_machine(), float_nodes).SerializeToString())


def rank(
    finished: onnx.ModelProto,
    ranges: Ranges,
    layers: Sequence[str],
    head: AbstractSet[str],
    inputs: Sequence[NDArray[np.uint8]],
    on_layer: Callable[[], None],
) -> List[Damage]:
    """*layers* by the damage that INT8 does in each on this machine (:func:`.rank_layers`)."""
    return rank_layers(
        finished, ranges, layers, head, inputs, algorithm=_RANKED_BY, target=this_machine(), on_layer=on_layer
    )


def record(precision: str) -> EngineRecord:
    """What the manifest says about an engine built here and now."""
    versions = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
    return EngineRecord(KIND, precision, versions=versions, machine=platform.machine())
