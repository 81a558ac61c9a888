"""The engines that `python -m bench gpu` measures: built once into its folder, found there by a later run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Callable, Dict, List

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
from sightd.bundle import OutputSpec, Profile
from sightd.engines import Engine, EngineOptions, load_engine
from sightd.errors import BuildError
from tests.parts.calibrated import calibrated
from tests.parts.tensorrt_settings import tensorrt_settings

from .assets import asset
from .models import RealModel, finished_model

__all__ = ["FLOATS", "INT8", "MAX_BATCH", "ModelEngines"]

MAX_BATCH, _OPT_BATCH = 16, 8
FLOATS = ("fp32", "fp16")
#: Name of the engine -> how TensorRT calibrates it; prediction layers, decoding and the most damaged layers stay float.
_FLOAT_LAYERS = 16
INT8 = {
    "int8-entropy": Recipe("tensorrt-entropy", "conv", _FLOAT_LAYERS),
    "int8-minmax": Recipe("tensorrt-minmax", "conv", _FLOAT_LAYERS),
    "int8-mse": Recipe("mse", "conv", _FLOAT_LAYERS),
}
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
        return [name for name in (*FLOATS, *INT8) if self.file(name).exists()]

    def build(self) -> Dict[str, Any]:
        """Make what is not there yet; engine -> seconds, size, layers by precision, or why there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        OnnxRuntimeBuilder().build_float(self.finished.model, "fp32", self.cpu_file)
        builder = TensorRtBuilder(tensorrt_settings(), self._profile(), self.folder)
        found: Dict[str, Any] = {}
        for precision in FLOATS:
            if not self.file(precision).exists():
                make = partial(builder.build_float, self.finished.model, precision, self.file(precision))
                found[precision] = _told(make)
        wanted = {name: recipe for name, recipe in INT8.items() if not self.file(name).exists()}
        if wanted:
            found.update(self._build_int8(builder, wanted))
        return found

    def open(self, name: str, max_batch: int = MAX_BATCH, preprocess: str = "cpu") -> Engine:
        """The engine *name*, "cpu" for ONNX Runtime's."""
        options = EngineOptions(preprocess=preprocess)
        kind, file = (CPU, self.cpu_file) if name == "cpu" else (GPU, self.file(name))
        return load_engine(kind, file, self.finished.spec, min(max_batch, self.finished.max_batch), options)

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
        largest = min(MAX_BATCH, self.finished.max_batch)
        return Profile(1, min(_OPT_BATCH, largest), largest)

    def _build_int8(self, builder: TensorRtBuilder, wanted: Dict[str, Recipe]) -> Dict[str, Any]:
        frames = self._chosen()
        ready = calibrated(self.finished, list(frames.images(frames.calibration)), _FLOAT_LAYERS)

        def build(name: str) -> Built:
            return builder.build_int8(ready.model, ready.calibration, wanted[name], ready.floats, self.file(name))

        return {name: _told(partial(build, name)) for name in wanted}

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
