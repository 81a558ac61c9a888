"""AP on labelled images along the product's own path: as given, finished, INT8 as converted, INT8 done naively."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from converter.agreement.gate import Gate
from converter.agreement.measure import detect
from converter.agreement.reference import Reference
from converter.builders.onnxruntime import KIND, OnnxRuntimeBuilder
from converter.calibration.frames import read_frames
from converter.floats import build_floats
from converter.model.graph import OUR_PREFIX
from converter.progress import Silent
from converter.search import Limits, Recipe, search
from converter.verdict import choose
from converter.workshop import Workshop
from sightd.bundle import OutputSpec
from sightd.engines import EngineOptions, load_engine
from sightd.types import Detections, Image, InputSpec

from .assets import asset
from .clips import write_frames
from .coco import evaluate
from .engine_files import write_int8
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
    """The steps of converter.convert, so that an INT8 engine which agrees is measured even where it is slower."""
    finished = finished_model(model)
    spec = finished.spec
    frames = read_frames(calibration, count=512, holdout=200, seed=0)
    reference = Reference(model.load(), spec, finished.head)
    gate = Gate.open(reference, frames, spec, OutputSpec(), batches=[1, 4], progress=Silent())
    builder = OnnxRuntimeBuilder()
    yardstick = build_floats(builder, finished.model, gate, folder, Silent()).yardstick
    float_file = yardstick.built.file
    workshop = Workshop(finished, frames, gate, builder, float_file, folder, Silent())
    trials = search(workshop.prepare(), workshop.attempt, Limits(_MAX_TRIALS), builder.families)
    verdict = choose(yardstick.agreement, trials)
    naive = _naive(workshop, folder / "naive.onnx")
    judged = gate.judge(KIND, naive, "naive INT8")
    trial = verdict.trial
    int8 = workshop.file_of(trial.recipe) if trial else None
    return {
        "pytorch_ap": _ap(lambda images: [reference.detect(image, _MIN_SCORE, _IOU) for image in images], 1),
        "fp32_ap": _engine_ap(float_file, spec, 1),
        "fp32_ap_batch4": _engine_ap(float_file, spec, 4),
        "int8_ap": _engine_ap(int8, spec, 4) if int8 else None,
        "int8_speedup": round(trial.speedup, 3) if trial else None,
        "outcome": verdict.outcome.name.lower(),
        "verdict": verdict.sentence,
        "naive_int8_ap": _engine_ap(naive, spec, 4),
        "naive_gate": judged.verdict,
        "naive_reason": judged.reason,
    }


def _naive(workshop: Workshop, file: Path) -> Path:
    """INT8 as it is done when nobody looks: every layer, the prediction layers too, ranges from the extremes."""
    model = workshop.model
    ours = {node.name for node in model.graph.node if node.name.startswith(OUR_PREFIX)}
    write_int8(model, workshop.collect_ranges(ours), Recipe("minmax", "all", 0), ours, file)
    return file


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
