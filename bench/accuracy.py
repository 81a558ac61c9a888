"""AP on labelled images along the product's own path: as given, finished, INT8 as converted, INT8 done naively."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

import cv2

from converter.builders.onnxruntime import KIND
from converter.convert import convert
from converter.measure import detect
from converter.progress import Silent
from converter.reference import Reference
from converter.request import Request
from sightd.bundle import OutputSpec
from sightd.engines import Engine, EngineOptions, load_engine, open_engine
from sightd.sources import source_for
from sightd.types import Image

from .assets import asset
from .coco import evaluate
from .models import MODELS, RealModel, finished_file
from .naive import naive_int8
from .result import Result

__all__ = ["run"]

#: COCO's own evaluation: everything down to this score, 100 boxes an image.
_MIN_SCORE, _IOU = 0.001, 0.45
_CLIPS = ("vtest.avi", "one-by-one-person-detection.mp4", "bikes.mp4", "bgs_video02.avi")
_SHOWN = (
    "pytorch_ap",
    "fp32_ap",
    "fp32_ap_batch4",
    "int8_ap",
    "int8_speedup",
    "outcome",
    "naive_int8_ap",
    "naive_verdict",
)


def run(quick: bool) -> Result:
    """Calibrated on 80 images of COCO's training set and frames of four clips; measured on 100 other images."""
    figures: Dict[str, Any] = {}
    rows: List[List[Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        calibration = _calibration_folder(Path(folder) / "calibration", 20 if quick else 60)
        for model in MODELS:
            measured = _measure(model, calibration, Path(folder) / model.name)
            figures[model.name] = measured
            rows.append([model.name, *(measured[name] for name in _SHOWN)])
    return Result("accuracy", figures, ["model", *_SHOWN], rows, {"images": "coco_val_dev100", "nms_iou": _IOU})


def _measure(model: RealModel, calibration: Path, folder: Path) -> Dict[str, Any]:
    folder.mkdir()
    float_file, finished = finished_file(model, folder)
    reference = Reference(model.load(), finished.spec, finished.head)
    given = _ap(lambda images: [reference.detect(image, _MIN_SCORE, _IOU) for image in images], 1)
    request = Request(asset(model.file), calibration, folder / "bundle", labels="coco80")
    result = convert(request, Silent())
    naive_file, naive = naive_int8(finished, model.load(), calibration, folder / "naive.onnx")
    floats = partial(load_engine, KIND, float_file, finished.spec, 4, EngineOptions())
    naives = partial(load_engine, KIND, naive_file, finished.spec, 4, EngineOptions())
    manifest = result.bundle.manifest
    with floats() as engine, naives() as naive_engine, open_engine(result.bundle, EngineOptions()) as shipped:
        trial = result.verdict.trial
        return {
            "pytorch_ap": round(given, 4),
            "fp32_ap": round(_engine_ap(engine, 1), 4),
            "fp32_ap_batch4": round(_engine_ap(engine, 4), 4),
            "int8_ap": round(_engine_ap(shipped, 4), 4) if manifest.engine.precision == "int8" else None,
            "naive_int8_ap": round(_engine_ap(naive_engine, 4), 4),
            "naive_verdict": naive.verdict,
            "naive_reason": naive.reason,
            "int8_speedup": round(trial.speedup, 3) if trial else None,
            "outcome": result.verdict.outcome.name.lower(),
            "verdict": result.verdict.sentence,
        }


def _engine_ap(engine: Engine, batch: int) -> float:
    return _ap(lambda images: detect(engine, images, OutputSpec(nms_iou=_IOU), _MIN_SCORE, batch=batch), batch)


def _ap(detect_all: Any, batch: int) -> float:
    folder = asset("images/coco_val_dev100")
    return evaluate(detect_all, folder / "images", folder / "instances.json", batch)


def _calibration_folder(folder: Path, frames_a_clip: int) -> Path:
    """Pictures of COCO's training set in one sub-folder, frames of each clip in another."""
    folder.mkdir()
    shutil.copytree(asset("images/calib_coco_train80"), folder / "coco")
    for clip in _CLIPS:
        (folder / clip).mkdir()
        source = source_for(str(asset(f"videos/{clip}")), pace="fast", loop=False)
        source.open()
        pictures: List[Image] = []
        while source.grab():
            pictures.append(source.retrieve())
        source.close()
        for index in range(0, len(pictures), -(-len(pictures) // frames_a_clip)):
            cv2.imwrite(str(folder / clip / f"{index:05}.jpg"), pictures[index])
    return folder
