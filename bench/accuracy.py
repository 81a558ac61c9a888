"""AP on labelled images along the product's own path: as given, finished, INT8 as converted, INT8 done naively."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from converter.agreement.measure import detect
from converter.builders.onnxruntime import KIND
from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.types import Detections, Image, InputSpec

from .assets import asset
from .clips import write_frames
from .coco import evaluate
from .converted import converted
from .models import MODELS, RealModel, finished_model
from .result import Result

__all__ = ["run"]

#: COCO's own evaluation: everything down to this score, 100 boxes an image.
_MIN_SCORE, _IOU = 0.001, 0.45
_SHOWN = (
    "pytorch_ap",
    "fp32_ap",
    "fp32_ap_batch4",
    "int8_ap",
    "int8_speedup",
    "outcome",
    "naive_int8_ap",
    "naive_gate",
)
_MAX_TRIALS = 12


def run(quick: bool) -> Result:
    """Calibrated on 80 images of COCO's training set and frames of four clips; measured on 100 other images."""
    figures: Dict[str, Any] = {}
    rows: List[List[Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        calibration = _calibration_folder(Path(folder) / "calibration", 20 if quick else 60)
        for model in MODELS:
            (Path(folder) / model.name).mkdir()
            measured = _measure(model, calibration, Path(folder) / model.name)
            figures[model.name] = measured
            rows.append([model.name, *(measured[name] for name in _SHOWN)])
    return Result("accuracy", figures, ["model", *_SHOWN], rows, {"images": "coco_val_dev100", "nms_iou": _IOU})


def _measure(model: RealModel, calibration: Path, folder: Path) -> Dict[str, Any]:
    finished = finished_model(model)
    spec = finished.spec
    made = converted(model.load(), finished, calibration, folder, _MAX_TRIALS)
    reference, trial, int8 = made.reference, made.trial, made.int8_file
    return {
        "pytorch_ap": _ap(lambda images: [reference.detect(image, _MIN_SCORE, _IOU) for image in images], 1),
        "fp32_ap": _engine_ap(made.float_file, spec, 1),
        "fp32_ap_batch4": _engine_ap(made.float_file, spec, 4),
        "int8_ap": _engine_ap(int8, spec, 4) if int8 else None,
        "int8_speedup": round(trial.speedup, 3) if trial else None,
        "outcome": made.verdict.outcome.name.lower(),
        "verdict": made.verdict.sentence,
        "naive_int8_ap": _engine_ap(made.naive_file, spec, 4),
        "naive_gate": made.naive_agreement.verdict,
        "naive_reason": made.naive_agreement.reason,
    }


def _engine_ap(file: Path, spec: InputSpec, batch: int) -> float:
    with load_engine(KIND, file, spec, batch, EngineOptions()) as engine:
        return _ap(lambda images: detect(engine, images, OutputSpec(nms_iou=_IOU), _MIN_SCORE, batch=batch), batch)


def _ap(detect_all: Callable[[List[Image]], List[Detections]], batch: int) -> float:
    folder = asset("images/coco_val_dev100")
    return round(evaluate(detect_all, folder / "images", folder / "instances.json", batch), 4)


def _calibration_folder(folder: Path, frames_a_clip: int) -> Path:
    """Pictures of COCO's training set in one sub-folder, frames of each clip in another."""
    folder.mkdir()
    shutil.copytree(asset("images/calib_coco_train80"), folder / "coco")
    write_frames(folder, frames_a_clip)
    return folder
