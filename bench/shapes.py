"""The committed detector of coloured shapes, no asset needed: float, INT8 as converted and naive INT8 against truth."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import msgspec

from converter.agreement.ground_truth import read_ground_truth
from converter.agreement.labelled import label_precision
from converter.builders.onnxruntime import KIND
from converter.model.finish import finish
from converter.model.graph import load_onnx
from converter.progress import Silent
from sightd.manifest import OutputSpec
from sightd.types import InputSpec
from tests.shapes.detector import MODEL
from tests.shapes.scene import Scene
from tests.shapes.writing import write_frames, write_labelled

from .converted import Converted, converted
from .result import Result

__all__ = ["run"]

#: The views that it is calibrated on and judged by, and from where on the labelled pictures' seeds count.
_SCENES, _SCENES_QUICK, _LABELLED = 8, 4, 10_000
#: Of each scene, one in _EVERY frames.
_FRAMES, _EVERY = 60, 8
_MAX_TRIALS = 12
_COLUMNS = ("engine", "recipe", "AP", "AP50", "x float's speed", "gate")


@dataclass(frozen=True)
class _Engine:
    file: Path
    recipe: str
    speedup: Optional[float]
    gate: str


def run(quick: bool) -> Result:
    """Calibrated on frames of scenes, measured on pictures of others; no seed of the training is among them."""
    model = load_onnx(MODEL)
    finished = finish(model)
    pictures = 100 if quick else 400
    figures: Dict[str, Any] = {}
    rows: List[Sequence[Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = [Scene(seed) for seed in range(_SCENES_QUICK if quick else _SCENES)]
        calibration = write_frames(folder / "frames", scenes, _FRAMES, _EVERY)
        annotations = write_labelled(folder / "labelled", range(_LABELLED, _LABELLED + pictures))
        truth = read_ground_truth(annotations, finished.labels)
        made = converted(model, finished, calibration, folder, _MAX_TRIALS)
        for key, engine in _engines(made, finished.spec, calibration, folder).items():
            found = label_precision(truth, KIND, engine.file, finished.spec, OutputSpec(), Silent())
            ap, ap50 = round(found.ap, 4), round(found.ap50, 4)
            figures.update({f"{key}_ap": ap, f"{key}_ap50": ap50, f"{key}_speedup": engine.speedup})
            figures.update({f"{key}_recipe": engine.recipe, f"{key}_gate": engine.gate})
            rows.append([key, engine.recipe, ap, ap50, engine.speedup or "", engine.gate])
    figures["outcome"], figures["verdict"] = made.verdict.outcome.name.lower(), made.verdict.sentence
    objects = sum(int((~one.crowd).sum()) for one in truth)
    conditions = {"model_bytes": MODEL.stat().st_size, "pictures": pictures, "objects": objects}
    return Result("shapes", figures, _COLUMNS, rows, conditions)


def _engines(made: Converted, spec: InputSpec, calibration: Path, folder: Path) -> Dict[str, _Engine]:
    """Float, the best INT8 engine that agrees, and two made without looking."""
    engines = {"fp32": _Engine(made.float_file, "", 1.0, "")}
    trial = made.trial
    if trial is not None:
        file = next(file for one, file in made.tried if one is trial)
        engines["int8"] = _Engine(file, str(trial.recipe), round(trial.speedup, 3), trial.agreement.verdict)
    engines["every_layer"] = _Engine(made.naive_file, "minmax, all, 0 float", None, made.naive_agreement.verdict)
    rival = _rival(made.float_file, spec, calibration, folder)
    judged = made.gate.judge(KIND, rival, "quantize_static").verdict
    engines["quantize_static"] = _Engine(rival, "MinMax, nothing excluded", None, judged)
    return engines


def _rival(float_file: Path, spec: InputSpec, calibration: Path, folder: Path) -> Path:
    """The engine of ONNX Runtime's own quantize_static, which quantises the decoding too."""
    mixed, out = folder / "mixed", folder / "rival.onnx"
    mixed.mkdir()
    for place, file in enumerate(sorted(calibration.rglob("*.png"))[::_EVERY]):
        shutil.copy(file, mixed / f"{place:05}.png")
    command = [sys.executable, "-m", "bench.rival", "MinMax", str(float_file), "--input", "images"]
    command += ["--spec", msgspec.json.encode(spec).decode(), "--pictures", str(mixed), "--frames", "1000"]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    return out
