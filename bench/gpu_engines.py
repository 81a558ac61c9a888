"""The engines that `python -m bench gpu` measures: built once into its folder, found there by a later run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from converter.agreement.gate import Gate
from converter.agreement.ground_truth import read_ground_truth
from converter.agreement.labelled import label_precision
from converter.agreement.reference import Reference
from converter.builders.base import Built
from converter.builders.onnxruntime import KIND as CPU
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.builders.tensorrt import KIND as GPU
from converter.builders.tensorrt import TensorRtBuilder
from converter.calibration.frames import Frames, read_frames
from converter.model.finish import FinishedModel
from converter.progress import Silent
from converter.search import Recipe
from sightd.engines import Engine, EngineOptions, load_engine
from sightd.errors import BuildError
from sightd.manifest import OutputSpec, Profile
from tests.parts.calibrated import Calibrated, calibrated
from tests.parts.tensorrt_settings import tensorrt_settings

from .assets import asset
from .models import RealModel, finished_model

__all__ = ["FLOATS", "INT8", "MAX_BATCH", "NAMES", "ModelEngines"]

MAX_BATCH, _OPT_BATCH = 16, 8
FLOATS = ("fp32", "fp16")
#: Name of the engine -> how TensorRT calibrates it, and how many of the most damaged layers stay float, beside
#: prediction layers and decoding.
INT8 = {
    "int8-entropy": (Recipe("tensorrt-entropy", "conv", 16), 16),
    "int8-minmax": (Recipe("tensorrt-minmax", "conv", 16), 16),
    "int8-minmax-32": (Recipe("tensorrt-minmax", "conv", 32), 32),
    "int8-minmax-64": (Recipe("tensorrt-minmax", "conv", 64), 64),
    "int8-mse": (Recipe("mse", "conv", 16), 16),
}
#: Every engine that a model can have.
NAMES = (*FLOATS, *INT8)
_LABELS = "images/coco_val_dev100/instances.json"


@dataclass
class ModelEngines:
    """One model and its engines in *folder*."""

    model: RealModel
    folder: Path
    #: Calibration pictures, sub-folders are cameras.
    pictures: Path
    frames: int

    @cached_property
    def finished(self) -> FinishedModel:
        return finished_model(self.model)

    @property
    def cpu_file(self) -> Path:
        return self.folder / "cpu.onnx"

    def file(self, name: str) -> Path:
        """The TensorRT engine *name*: one of FLOATS or of INT8."""
        return self.folder / f"{name}.plan"

    def names(self) -> List[str]:
        """The TensorRT engines that are there."""
        return [name for name in NAMES if self.file(name).exists()]

    def prepare(self) -> Dict[str, Any]:
        """What needs no GPU, so that builds find it done: ONNX Runtime's engine, ranges, the order of the layers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        OnnxRuntimeBuilder().build_float(self.finished.model, "fp32", self.cpu_file)
        ready = self._calibrated()
        return {"pictures": ready.calibration.count, "layers": len(ready.ranked)}

    def build(self, names: Sequence[str]) -> Dict[str, Any]:
        """Engine -> seconds, size, layers by precision, or why there is none; built now, or by an earlier call.

        Several processes may build different ones at the same time.
        """
        return {name: self._built(name) for name in names}

    def open(self, name: str, max_batch: int = MAX_BATCH, preprocess: str = "cpu") -> Engine:
        """The engine *name*, "cpu" for ONNX Runtime's."""
        options = EngineOptions(preprocess=preprocess)
        kind, file = (CPU, self.cpu_file) if name == "cpu" else (GPU, self.file(name))
        return load_engine(kind, file, self.finished.spec, min(max_batch, self._profile().max), options)

    def ap(self, name: str) -> float:
        """On 100 labelled pictures of COCO."""
        truth = read_ground_truth(asset(_LABELS), self.finished.labels)
        kind, file = (CPU, self.cpu_file) if name == "cpu" else (GPU, self.file(name))
        output = OutputSpec(candidates=self.finished.candidates)
        return round(label_precision(truth, kind, file, self.finished.spec, output, Silent()).ap, 4)

    def verdicts(self) -> Dict[str, Dict[str, Any]]:
        """What the gate says of each TensorRT engine; the FP32 engine is its floor."""
        gate = self._gate()
        found: Dict[str, Dict[str, Any]] = {}
        for name in self.names():
            judge = gate.judge_floor if name == "fp32" else gate.judge
            agreed = judge(GPU, self.file(name), name)
            found[name] = {"verdict": agreed.verdict, "ap50": round(agreed.ap50, 4), "reason": agreed.reason}
        return found

    def _profile(self) -> Profile:
        fixed = self.finished.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
        return Profile(fixed, fixed, fixed) if fixed else Profile(1, _OPT_BATCH, MAX_BATCH)

    def _built(self, name: str) -> Any:
        own = self.folder / name  # graph, caches and logs: a parallel build must not share them
        told = own / "built.json"
        if not told.exists():
            own.mkdir(parents=True, exist_ok=True)
            found = _told(partial(self._build, name, TensorRtBuilder(tensorrt_settings(), self._profile(), own)))
            told.write_text(json.dumps(found), "utf-8")
        return json.loads(told.read_text("utf-8"))

    def _build(self, name: str, builder: TensorRtBuilder) -> Built:
        if name in FLOATS:
            return builder.build_float(self.finished.model, name, self.file(name))
        recipe, float_layers = INT8[name]
        ready = self._calibrated()
        return builder.build_int8(ready.model, ready.calibration, recipe, ready.floats(float_layers), self.file(name))

    def _calibrated(self) -> Calibrated:
        frames = self._chosen()
        return calibrated(self.finished, list(frames.images(frames.calibration)), rank=True, kept=self.folder)

    def _chosen(self) -> Frames:
        return read_frames(self.pictures, count=self.frames, holdout=self.frames, seed=0)

    def _gate(self) -> Gate:
        finished = self.finished
        return Gate.open(
            Reference(self.model.load(), finished.spec, finished.head),
            self._chosen(),
            finished.spec,
            OutputSpec(candidates=finished.candidates),
            batches=[1],
            progress=Silent(),
            labels=finished.labels,
        )


def _told(make: Callable[[], Built]) -> Dict[str, Any]:
    """What became of one build."""
    try:
        built = make()
    except BuildError as error:
        return {"error": str(error)}
    return {
        "seconds": round(built.seconds, 1),
        "file_mb": round(built.file.stat().st_size / 2**20, 1),
        "peak_rss_mb": round(built.peak_rss_mb),
        "layers": dict(built.layers),
        "notes": list(built.notes),
    }
