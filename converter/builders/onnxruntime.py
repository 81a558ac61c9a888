"""Builds ONNX Runtime engines: the finished graph as it is, or with explicit Q/DQ for this machine."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import AbstractSet, Callable, List, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sightd.manifest import EngineRecord

from ..int8.emit import emit
from ..int8.layer_speed import slow_first_layers
from ..int8.ranges import Ranges
from ..int8.sensitivity import Damage, rank_layers
from ..int8.silu import fuse_silu
from ..int8.targets import this_machine
from ..search import Recipe
from .base import Builder, Built, Calibration

__all__ = ["FAMILIES", "KIND", "OnnxRuntimeBuilder"]

#: The engine kind in the manifest.
KIND = "onnxruntime"
#: Tried in this order. AP50 on CenterNet-MobileNetV3, 8 layers float, scope "conv": mse .953, percentile-99.999 .941;
#: scope "all": percentile-99.99 .950, minmax .908, entropy .534. YOLOX-nano has .99 with all but entropy (.94).
FAMILIES = tuple(
    Recipe(algorithm, "conv", 8) for algorithm in ("mse", "percentile-99.999", "percentile-99.99", "minmax", "entropy")
)
#: The order of the layers is the same by and large with any algorithm.
_RANKED_BY = "percentile-99.999"


class OnnxRuntimeBuilder(Builder):
    """For this machine's CPU; building takes no time."""

    kind = KIND
    suffix = ".onnx"
    families = FAMILIES

    def build_float(self, finished: onnx.ModelProto, precision: str, file: Path) -> Built:
        file.write_bytes(finished.SerializeToString())
        return Built(file, precision)

    def build_int8(
        self,
        finished: onnx.ModelProto,
        calibration: Calibration,
        recipe: Recipe,
        float_nodes: AbstractSet[str],
        file: Path,
    ) -> Built:
        made = emit(finished, calibration.ranges, recipe, this_machine(), float_nodes)
        file.write_bytes(made.SerializeToString())
        return Built(file, "int8")

    def rank(
        self,
        finished: onnx.ModelProto,
        ranges: Ranges,
        layers: Sequence[str],
        head: AbstractSet[str],
        inputs: Sequence[NDArray[np.uint8]],
        on_layer: Callable[[], None],
    ) -> List[Damage]:
        return rank_layers(
            finished, ranges, layers, head, inputs, algorithm=_RANKED_BY, target=this_machine(), on_layer=on_layer
        )

    def record(self, built: Built) -> EngineRecord:
        versions = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
        return EngineRecord(
            KIND, built.precision, versions=versions, machine=platform.machine(), layers=dict(built.layers)
        )

    def better_float(self, finished: onnx.ModelProto, layers: Sequence[str]) -> AbstractSet[str]:
        return slow_first_layers(finished, layers)

    def int8_nodes(self, finished: onnx.ModelProto, float_nodes: AbstractSet[str], scope: str) -> AbstractSet[str]:
        return super().int8_nodes(fuse_silu(finished) if this_machine().fuse_silu else finished, float_nodes, scope)
