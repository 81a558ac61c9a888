"""Agreement without labels: the reference's detections are the truth, the candidate engine's are judged by them.

The reference is the unfinished float model behind its own preprocessing (:mod:`converter.agreement.reference`), so
wrong resizing, a wrong decode and a ruined engine all show; an input spec that is wrong for the model does
not, for both sides follow it. The rule of the verdict is in :mod:`converter.agreement.judge`; docs/agreement.md derives
its limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Sequence

import numpy as np
from numpy.typing import NDArray

from sightd.calibration_entries import Entry
from sightd.types import Detections

from .bootstrap import blocks, interval, resamples
from .comparison import Comparison, Figures, Levels, compare
from .judge import Group, Interval, Verdict, judge
from .thresholds import LEAST, Thresholds

__all__ = ["Agreement", "Thresholds", "WorstFrame", "agreement", "levels"]

_RESAMPLES = 400
_WORST = 12
#: Score shifts are counted in bins of .02.
_SHIFT_EDGES = np.round(np.linspace(-0.5, 0.5, 51), 2)
_INTERVALS = ("ap", "ap50", "recall", "precision", "matched_iou", "score_shift")


@dataclass(frozen=True)
class WorstFrame:
    """A frame on which the two differ most."""

    #: Its place among the judged frames, and the picture's path in the calibration set.
    frame: int
    file: str
    camera: str
    ap50: float
    #: Evidence that was not found, and reported boxes that nothing explains.
    missed: int
    extra: int


@dataclass(frozen=True)
class Agreement:
    """What was measured on the hold-out frames."""

    frames: int
    #: Reference boxes that count (score >= min_score + margin).
    evidence: int
    ap50: float
    recall: float
    extra: float
    matched_iou: float
    score_shift: float
    #: "agrees", "disagrees" or "insufficient-evidence".
    verdict: str
    #: One sentence for people.
    reason: str
    #: AP over IoU .50:.95.
    ap: float = 0.0
    precision: float = 0.0
    #: The 5th and 95th percentile of the score shifts.
    shift_p5: float = 0.0
    shift_p95: float = 0.0
    #: Figure -> low and high end of its 95 % interval (bootstrap over blocks of frames).
    intervals: Dict[str, Interval] = field(default_factory=dict)
    #: Figure -> the least value that was needed.
    needed: Dict[str, float] = field(default_factory=dict)
    #: By label and by camera, most evidence first.
    classes: List[Group] = field(default_factory=list)
    cameras: List[Group] = field(default_factory=list)
    #: Counts of score shifts in bins of .02 from -.5 to .5, the outer ones open.
    shift_counts: List[int] = field(default_factory=list)
    worst: List[WorstFrame] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return self.verdict == "agrees"

    def as_dict(self) -> Dict[str, Any]:
        """All of it, JSON-able, rounded to four places."""
        data: Dict[str, Any] = _rounded(self)
        return data


def agreement(
    reference: Sequence[Detections],
    candidate: Sequence[Detections],
    thresholds: Thresholds,
    *,
    entries: Sequence[Entry] = (),
    labels: Sequence[str] = (),
) -> Agreement:
    """Judge *candidate* by *reference*, frame by frame in the same order.

    Both hold every detection down to ``levels(thresholds).floor`` or lower, after NMS.

    :param entries: of the same frames, for their cameras and times; without them all are one camera's, in order.
    :param labels: the names of the classes; numbers where there are none.
    """
    table = compare(reference, candidate, levels(thresholds))
    cameras = [entry.camera for entry in entries] or [""] * table.frames
    times = [entry.captured_at for entry in entries] or list(range(table.frames))
    weights = resamples(blocks(cameras, times), _RESAMPLES)
    figures, intervals = table.figures(), _intervals([table.figures(row) for row in weights])
    classes, by_camera = _classes(table, weights, labels), _cameras(table, weights, cameras)
    evidence = len(table.iou)
    verdict: Verdict = judge(figures, intervals, classes, by_camera, evidence, thresholds)
    shifts = table.shift[table.iou > 0]
    p5, p95 = np.percentile(shifts, [5, 95]) if len(shifts) else (0.0, 0.0)
    return Agreement(
        frames=table.frames,
        evidence=evidence,
        verdict=verdict.name,
        reason=verdict.reason,
        shift_p5=float(p5),
        shift_p95=float(p95),
        intervals=intervals,
        needed={name: getattr(thresholds, f"min_{name}") for name in LEAST},
        classes=classes,
        cameras=by_camera,
        shift_counts=np.histogram(np.clip(shifts, -0.5, 0.5), _SHIFT_EDGES)[0].tolist(),
        worst=_worst(table, entries),
        **vars(figures),
    )


def levels(thresholds: Thresholds) -> Levels:
    """The scores that boxes are counted by."""
    return Levels(thresholds.min_score, thresholds.margin, thresholds.iou)


def _intervals(replicates: Sequence[Figures]) -> Dict[str, Interval]:
    return {
        name: interval(np.array([getattr(figures, name) for figures in replicates], np.float64)) for name in _INTERVALS
    }


def _classes(table: Comparison, weights: NDArray[np.float64], labels: Sequence[str]) -> List[Group]:
    rows = []
    for class_id in np.unique(np.concatenate([table.evidence.class_id, table.extra.class_id])).tolist():
        name = labels[class_id] if class_id < len(labels) else str(class_id)
        rows.append(_group(name, table.part(class_id=class_id), weights, table.frames))
    return sorted(rows, key=lambda row: (-row.evidence, row.name))


def _cameras(table: Comparison, weights: NDArray[np.float64], cameras: Sequence[str]) -> List[Group]:
    rows = []
    for camera in sorted(set(cameras)):
        frames = np.array([name == camera for name in cameras], bool)
        rows.append(_group(camera, table.part(frames=frames), weights, int(frames.sum())))
    return sorted(rows, key=lambda row: (-row.evidence, row.name))


def _group(name: str, part: Comparison, weights: NDArray[np.float64], frames: int) -> Group:
    figures = part.figures()
    drawn = weights[:, part.evidence.frame]
    with np.errstate(invalid="ignore"):
        recalls = (drawn * (part.iou > 0)).sum(axis=1) / drawn.sum(axis=1)
    return Group(
        name=name,
        frames=frames,
        evidence=len(part.iou),
        recall=figures.recall,
        recall_interval=interval(recalls),
        ap=figures.ap,
        ap50=figures.ap50,
        extra=len(part.extra.frame) / max(1, frames),
        score_shift=figures.score_shift,
    )


def _worst(table: Comparison, entries: Sequence[Entry]) -> List[WorstFrame]:
    """The frames with most boxes missed or extra, worst first."""
    missed = np.bincount(table.evidence.frame[table.iou == 0], minlength=table.frames)
    extra = np.bincount(table.extra.frame, minlength=table.frames)
    rows = []
    for frame in np.argsort(-(missed + extra), kind="stable")[: _WORST if entries else 0].tolist():
        only = np.arange(table.frames) == frame
        ap50 = table.part(frames=only).figures().ap50
        entry = entries[frame]
        rows.append(WorstFrame(frame, entry.file, entry.camera, ap50, int(missed[frame]), int(extra[frame])))
    return rows


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return _rounded(vars(value)) if hasattr(value, "__dict__") else value
