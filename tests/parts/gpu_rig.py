"""Real TensorRT engines of the tiny detector for the tests that need a GPU: each built once, beside their reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import onnx

from converter.agreement.measure import detect
from converter.builders.base import Built, Calibration
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.builders.tensorrt import TensorRtBuilder
from converter.model.finish import FinishedModel, finish
from converter.search import Recipe
from sightd.engines import Engine, EngineOptions, load_engine
from sightd.manifest import OutputSpec, Profile
from sightd.types import Detections, Image
from tests.parts.blobs import LABELS, blob_detector, blob_picture
from tests.parts.calibrated import Calibrated, calibrated
from tests.parts.tensorrt_settings import tensorrt_settings

__all__ = ["INT8", "PRECISIONS", "PROFILE", "Rig", "furthest", "tiny_rig"]

PROFILE = Profile(1, 4, 8)
INT8 = {
    "int8-entropy": Recipe("tensorrt-entropy", "conv", 0),
    "int8-minmax": Recipe("tensorrt-minmax", "conv", 0),
    "int8-mse": Recipe("mse", "conv", 0),
}
PRECISIONS = ("fp32", "fp16", *INT8)
#: What is reported at all.
_MIN_SCORE = 0.3


@dataclass
class Rig:
    """A finished model, pictures to calibrate on and to look at, and its engines in *folder*."""

    given: onnx.ModelProto
    finished: FinishedModel
    folder: Path
    calibration: Sequence[Image]
    pictures: Sequence[Image]
    #: Of INT8 engines, the head not counted.
    float_layers: int = 0
    built: Dict[str, Built] = field(default_factory=dict)

    @cached_property
    def ready(self) -> Calibrated:
        return calibrated(self.finished, self.calibration, rank=self.float_layers > 0)

    @cached_property
    def builder(self) -> TensorRtBuilder:
        return self.new_builder(self.folder)

    def new_builder(self, folder: Path, **options: Any) -> TensorRtBuilder:
        """Another builder, with no caches but those in *folder*."""
        folder.mkdir(parents=True, exist_ok=True)
        return TensorRtBuilder(tensorrt_settings(**options), PROFILE, folder)

    def plan(self, name: str) -> Path:
        """The engine *name*, one of PRECISIONS, built when it is asked for first."""
        if name not in self.built:
            self.built[name] = self.build(self.builder, name, self.folder / f"{name}.plan")
        return self.built[name].file

    def build(
        self, builder: TensorRtBuilder, name: str, file: Path, calibration: Optional[Calibration] = None
    ) -> Built:
        """Build it anew; *calibration* instead of the rig's own."""
        if name in INT8:
            ready = self.ready
            floats = ready.floats(self.float_layers)
            return builder.build_int8(ready.model, calibration or ready.calibration, INT8[name], floats, file)
        return builder.build_float(self.finished.model, name, file)

    def open(self, file: Path, max_batch: int = PROFILE.max, preprocess: str = "cpu") -> Engine:
        return load_engine("tensorrt", file, self.finished.spec, max_batch, EngineOptions(preprocess=preprocess))

    def reference(self) -> Engine:
        """The same graph in ONNX Runtime."""
        file = self.folder / "reference.onnx"
        OnnxRuntimeBuilder().build_float(self.finished.model, "fp32", file)
        return load_engine("onnxruntime", file, self.finished.spec, PROFILE.max, EngineOptions())

    def found(self, engine: Engine, batch: int) -> List[Detections]:
        """What *engine* reports of the pictures, *batch* at a time."""
        output = OutputSpec(candidates=self.finished.candidates)
        return detect(engine, self.pictures, output, _MIN_SCORE, batch=batch)


def tiny_rig(folder: Path) -> Rig:
    """Of the blob detector; its pictures fill the largest batch twice."""
    model = onnx.load(str(blob_detector(folder / "blobs.onnx")))
    pictures = [blob_picture(seed) for seed in range(16, 32)]
    return Rig(model, finish(model, labels=LABELS), folder, [blob_picture(seed) for seed in range(16)], pictures)


def furthest(wanted: Sequence[Detections], got: Sequence[Detections]) -> Dict[str, float]:
    """How far detections are apart at most: objects missing or extra, pixels, scores; each beside its nearest."""
    missing, pixels, scores = 0, 0.0, 0.0
    for truth, found in zip(wanted, got):
        missing += abs(len(truth) - len(found))
        if not len(found):
            continue
        for box, score, kind in zip(truth.boxes, truth.scores, truth.classes):
            apart = np.abs(found.boxes - box).max(axis=1) + 1000.0 * (found.classes != kind)
            nearest = int(apart.argmin())
            pixels = max(pixels, float(apart[nearest]))
            scores = max(scores, abs(float(found.scores[nearest]) - float(score)))
    return {"missing": missing, "pixels": pixels, "scores": scores}
