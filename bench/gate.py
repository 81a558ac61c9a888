"""Does the agreement gate catch planted faults and pass honest engines? Labels that it never sees tell which is which.

The figures of all engines together are what docs/agreement.md derives the default thresholds from.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence

from converter.agreement.thresholds import Thresholds
from converter.int8.ranges import Ranges
from converter.search import Recipe

from .assets import asset
from .clips import write_frames
from .judged import FAULTS, Judged, JudgedModel
from .models import MODELS
from .result import Result

__all__ = ["run"]

_RECIPES = tuple(
    Recipe(algorithm, scope, float_layers)
    for algorithm, scope, float_layers in (
        ("percentile-99.999", "all", 24),
        ("percentile-99.99", "all", 24),
        ("percentile-99.999", "all", 8),
        ("percentile-99.999", "all", 40),
        ("percentile-99.999", "conv", 16),
        ("mse", "conv", 8),
        ("minmax", "all", 24),
        ("minmax", "all", 8),
    )
)
#: Figure -> its limit.
_FIGURES = {
    "ap": "min_ap",
    "ap50": "min_ap50",
    "recall": "min_recall",
    "precision": "min_precision",
    "matched_iou": "min_matched_iou",
    "score_shift": "max_score_shift",
    "class_recall": "min_class_recall",
    "camera_recall": "min_camera_recall",
}
_COLUMNS = ("model", "engine", "kind", "AP share", "verdict", *_FIGURES)


def run(quick: bool) -> Result:
    """Calibrated and judged on 80 images of COCO's training set and frames of four clips; *quick*: one model."""
    judged: List[Judged] = []
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        write_frames(pictures, 60)
        shutil.copytree(asset("images/calib_coco_train80"), pictures / "coco")
        models = [JudgedModel(model, pictures, Path(folder)) for model in MODELS[: 1 if quick else None]]
        ranges = [model.ranges(model.frames) for model in models]
        for place, model in enumerate(models):
            other = ranges[place - 1] if len(models) > 1 else _reversed(ranges[0])
            judged += model.judged(ranges[place], other, _RECIPES[: 2 if quick else None])
    rows = [
        [one.model, one.engine, one.kind, one.share, one.agreement.verdict, *_values(one).values()] for one in judged
    ]
    return Result("gate", _figures(judged), _COLUMNS, [*rows, *_derivation(judged)], _conditions(judged))


def _figures(judged: Sequence[Judged]) -> Dict[str, Any]:
    passed = [one for one in judged if one.agreement.agrees]
    figures: Dict[str, Any] = {}
    for fault in FAULTS:
        planted = [one for one in judged if one.kind == fault]
        figures[fault] = {"caught": bool(planted) and not any(one.agreement.agrees for one in planted)}
    for kind in ("honest", "between", "ruined"):
        figures[f"{kind}_passed"] = sum(one.kind == kind for one in passed)
        figures[f"{kind}_total"] = sum(one.kind == kind for one in judged)
    figures["lowest_share_passed"] = round(min(one.share for one in passed), 4)
    figures["engines"] = [_row(one) for one in judged]
    return figures


def _row(one: Judged) -> Dict[str, Any]:
    told = {"model": one.model, "engine": one.engine, "kind": one.kind, "ap": round(one.ap, 4)}
    verdict = {"verdict": one.agreement.verdict, "reason": one.agreement.reason}
    return {**told, "share": round(one.share, 4), **verdict, **{name: round(v, 4) for name, v in _values(one).items()}}


def _derivation(judged: Sequence[Judged]) -> List[List[Any]]:
    """Figure by figure the honest engines' worst, the best of those that may not pass, and the limit."""
    honest = [_values(one) for one in judged if one.kind == "honest"]
    refused = [_values(one) for one in judged if one.must_fail]
    limits = vars(Thresholds())
    worst = [_ranked(name, [values[name] for values in honest])[0] for name in _FIGURES]
    best = [_ranked(name, [values[name] for values in refused])[-1] for name in _FIGURES]
    return [
        ["", "honest: the worst", "", "", "", *worst],
        ["", "may not pass: the best", "", "", "", *best],
        ["", "limit", "", "", "", *(limits[key] for key in _FIGURES.values())],
    ]


def _ranked(name: str, values: Sequence[float]) -> List[float]:
    """The worst first."""
    return sorted(values, key=lambda value: -abs(value) if name == "score_shift" else value)


def _values(one: Judged) -> Dict[str, float]:
    found = one.agreement
    least = Thresholds().min_group_evidence
    groups = {"class_recall": found.classes, "camera_recall": found.cameras}
    lowest = {
        name: min((group.recall for group in rows if group.evidence >= least), default=1.0)
        for name, rows in groups.items()
    }
    return {name: lowest[name] if name in lowest else getattr(found, name) for name in _FIGURES}


def _conditions(judged: Sequence[Judged]) -> Dict[str, Any]:
    return {
        "labels": "coco_val_dev100",
        "float_ap": {one.model: round(one.ap, 4) for one in judged if one.engine == "fp32" and one.kind == "honest"},
        "evidence": {one.model: one.agreement.evidence for one in judged},
        "frames": {one.model: one.agreement.frames for one in judged},
    }


def _reversed(ranges: Ranges) -> Ranges:
    """Where there is no other model: the same ranges, given to the tensors in reverse order."""
    names = list(ranges.histograms)
    return Ranges({name: ranges.histograms[other] for name, other in zip(names, reversed(names))}, ranges.frames)
