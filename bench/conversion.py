"""What a conversion takes and gives: `sightd convert` beside ONNX Runtime's own quantize_static, on the same frames.

Each way runs in a process of its own, one after the other. Choosing frames, judging and timing engines, the report and
AP on labels are part of ours and of its cost; quantize_static is handed the frames that ours chose and only quantises.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, Sequence

import msgspec

from converter.agreement.gate import Gate
from converter.agreement.ground_truth import read_ground_truth
from converter.agreement.labelled import label_precision
from converter.agreement.reference import Reference
from converter.builders.onnxruntime import KIND
from converter.calibration.embeddings import embedder
from converter.calibration.frames import Frames, read_frames
from converter.model.tail import head_nodes
from converter.progress import Silent
from sightd.bundle import open_bundle
from sightd.manifest import OutputSpec

from .assets import asset
from .child import Spent, spent
from .clips import write_frames
from .engine_files import write_float
from .models import MODELS, finished_model
from .result import Result

__all__ = ["run"]

_MODEL = MODELS[0]
_LABELS = "images/coco_val_dev100/instances.json"
_FRAMES, _FRAMES_QUICK = 256, 48
#: Half of the pictures are held out, so there must be twice the frames and more.
_A_CLIP, _A_CLIP_QUICK = 150, 20
_HOLDOUT = 500
#: Of our search for a better engine.
_MAX_MINUTES = 3.0
#: It keeps every activation: 130 MB a frame.
_ENTROPY_FRAMES = 16
_SHOWN = ("frames", "seconds", "rss_mb", "ap", "speedup", "gate")
_COLUMNS = ("way", "frames", "seconds", "peak RSS (MB)", "AP", "x float's speed", "gate")


@dataclass(frozen=True)
class _Rival:
    """One way to call quantize_static."""

    name: str
    method: str
    max_frames: int
    #: Keeps float what we keep float: prediction layers and decoding. By default it quantises them too.
    float_head: bool = False


_RIVALS = (
    _Rival("quantize_static, MinMax", "MinMax", _FRAMES),
    _Rival("quantize_static, MinMax, float head", "MinMax", _FRAMES, float_head=True),
    _Rival("quantize_static, Entropy", "Entropy", _ENTROPY_FRAMES),
)


def run(quick: bool) -> Result:
    """YOLOX-nano; pictures of COCO's training set and four clips; AP on 100 other labelled pictures."""
    count = _FRAMES_QUICK if quick else _FRAMES
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        write_frames(pictures, _A_CLIP_QUICK if quick else _A_CLIP)
        shutil.copytree(asset("images/calib_coco_train80"), pictures / "coco")
        figures = _ours(pictures, count, Path(folder) / "bundle")
        figures.update(_Others(pictures, count, Path(folder)).measured())
    figures["Ultralytics' export"] = {"gate": _ultralytics()}
    rows: List[Sequence[Any]] = [[name, *(found.get(key, "") for key in _SHOWN)] for name, found in figures.items()]
    conditions = {"model": _MODEL.name, "labels": _LABELS, "max_minutes": _MAX_MINUTES}
    return Result("conversion", figures, _COLUMNS, rows, conditions)


def _ours(pictures: Path, count: int, bundle: Path) -> Dict[str, Dict[str, Any]]:
    """The engine that was shipped, and the best INT8 engine where that is another."""
    command = [sys.executable, "-m", "sightd", "convert", str(asset(_MODEL.file)), "--labels", "coco80"]
    command += ["--calibration", str(pictures), "--frames", str(count), "--holdout", str(_HOLDOUT)]
    command += ["--max-minutes", str(_MAX_MINUTES), "--truth", str(asset(_LABELS)), "--out", str(bundle)]
    cost = _succeeded(spent(command), also=3)
    manifest = open_bundle(bundle).manifest
    agreement = manifest.agreement or {}
    ap = {name: measured["ap"] for name, measured in agreement["labelled"].items()}
    told = {"engines_tried": len(agreement["trials"]), "gate": agreement["outcome"], "verdict": manifest.verdict}
    if manifest.engine.precision == "int8":
        told.update(ap=ap["int8"], speedup=_speedup(manifest.latency))
        return {"sightd convert: INT8 shipped": {**_cost(cost, count), **told}}
    found = {"sightd convert: float shipped": {**_cost(cost, count), **told, "ap": ap["float"], "speedup": 1.0}}
    if "int8" in ap:
        found["  its best INT8"] = {"ap": ap["int8"], "speedup": _speedup(manifest.latency), "gate": "agrees"}
    return found


def _speedup(latency: Dict[str, Any]) -> float:
    """INT8 against float at the largest batch that was timed."""
    batch = max(latency["float"], key=int)
    return round(float(latency["float"][batch]["p50_ms"] / latency["int8"][batch]["p50_ms"]), 3)


class _Others:
    """The other ways, fed with the frames that ours chose and judged by our gate."""

    def __init__(self, pictures: Path, count: int, folder: Path) -> None:
        finished = finished_model(_MODEL)
        embed = embedder(finished.model, finished.spec)
        self._frames = read_frames(pictures, count=count, holdout=_HOLDOUT, seed=0, embed=embed)
        self._finished, self._folder = finished, folder
        self._float_file = folder / "float.onnx"
        write_float(finished.model, self._float_file)
        self._chosen = folder / "chosen"
        _copy(self._frames, self._chosen)

    def measured(self) -> Dict[str, Dict[str, Any]]:
        """Way -> its figures; float first."""
        costs = {rival.name: self._quantized(rival) for rival in _RIVALS}
        gate = self._gate()
        agreed = gate.judge_floor(KIND, self._float_file, "")
        found: Dict[str, Dict[str, Any]] = {
            "no INT8": {"ap": self._ap(self._float_file, gate), "speedup": 1.0, "gate": agreed.verdict}
        }
        for rival in _RIVALS:
            file = self._file_of(rival)
            judged = gate.judge(KIND, file, "")
            found[rival.name] = {
                **costs[rival.name],
                "ap": self._ap(file, gate),
                "speedup": _speedup(gate.race(KIND, {"float": self._float_file, "int8": file})),
                "gate": judged.verdict,
                "reason": judged.reason,
            }
        return found

    def _quantized(self, rival: _Rival) -> Dict[str, Any]:
        count = min(rival.max_frames, len(self._frames.calibration))
        command = [sys.executable, "-m", "bench.rival", rival.method, str(self._float_file)]
        command += ["--input", self._finished.model.graph.input[0].name]
        command += ["--spec", msgspec.json.encode(self._finished.spec).decode()]
        command += ["--pictures", str(self._chosen), "--frames", str(count)]
        command += ["--out", str(self._file_of(rival))]
        if rival.float_head:
            command += ["--exclude", *sorted(head_nodes(self._finished.model))]
        return _cost(_succeeded(spent(command)), count)

    def _gate(self) -> Gate:
        finished = self._finished
        return Gate.open(
            Reference(_MODEL.load(), finished.spec, finished.head),
            self._frames,
            finished.spec,
            OutputSpec(candidates=finished.candidates),
            batches=[1, min(4, finished.max_batch)],
            progress=Silent(),
            labels=finished.labels,
        )

    def _ap(self, file: Path, gate: Gate) -> float:
        truth = read_ground_truth(asset(_LABELS), self._finished.labels)
        return round(label_precision(truth, KIND, file, gate.spec, gate.output, Silent()).ap, 4)

    def _file_of(self, rival: _Rival) -> Path:
        return self._folder / f"rival-{_RIVALS.index(rival)}.onnx"


def _copy(frames: Frames, folder: Path) -> None:
    """The calibration frames, named in the order of their choice: every beginning of it is a good one."""
    folder.mkdir()
    for place, entry in enumerate(frames.calibration):
        shutil.copy(frames.folder / entry.file, folder / f"{place:05}.jpg")


def _succeeded(cost: Spent, also: int = 0) -> Spent:
    if cost.exit_code not in (0, also):
        raise SystemExit(f"a conversion ended with exit code {cost.exit_code}: see its messages above")
    return cost


def _cost(cost: Spent, frames: int) -> Dict[str, Any]:
    return {"frames": frames, "seconds": cost.seconds, "rss_mb": cost.rss_mb}


def _ultralytics() -> str:
    state = "installed" if find_spec("ultralytics") else "not installed"
    return f"{state}; exports its own YOLO models only, not YOLOX: not applicable"
