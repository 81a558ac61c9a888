"""The rule of the verdict: a figure's value must reach its limit, and the worse end of its interval nearly so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, Sequence, Tuple

from .comparison import Figures
from .thresholds import Thresholds

__all__ = ["Group", "Interval", "Verdict", "judge"]

#: Low and high end.
Interval = Tuple[float, float]


@dataclass(frozen=True)
class Group:
    """The figures of one class, or of one camera."""

    #: The label or the camera.
    name: str
    frames: int
    evidence: int
    recall: float
    recall_interval: Interval
    ap: float
    ap50: float
    #: Boxes a frame that nothing explains.
    extra: float
    score_shift: float


@dataclass(frozen=True)
class Verdict:
    """What follows from the figures."""

    #: "agrees", "disagrees" or "insufficient-evidence".
    name: str
    #: One sentence for people.
    reason: str


def judge(
    figures: Figures,
    intervals: Dict[str, Interval],
    classes: Sequence[Group],
    cameras: Sequence[Group],
    evidence: int,
    limits: Thresholds,
) -> Verdict:
    """Apply the rule; the first of these that holds.

    1. less evidence than ``min_evidence``: insufficient-evidence;
    2. a figure misses its limit, or the recall of a class or a camera with at least ``min_group_evidence`` reference
       boxes misses its own: disagrees;
    3. the worse end of an interval misses the figure's limit by more than ``interval_slack``: insufficient-evidence;
    4. otherwise: agrees.
    """
    if evidence < limits.min_evidence:
        needed = f"only {evidence} reference boxes in the hold-out, {limits.min_evidence} needed"
        return Verdict("insufficient-evidence", f"{needed}: capture busier or more frames")
    failures = [*_failures(figures, limits), *_collapses(classes, cameras, limits)]
    if failures:
        return Verdict("disagrees", "; ".join(failures))
    unsure = list(_unsure(intervals, limits))
    if unsure:
        return Verdict("insufficient-evidence", f"{'; '.join(unsure)}: capture busier or more frames")
    low, high = intervals["ap"]
    return Verdict(
        "agrees",
        f"AP {figures.ap:.3f} ({low:.3f} to {high:.3f}), AP50 {figures.ap50:.3f}, recall {figures.recall:.3f} "
        f"over {evidence} reference boxes",
    )


def _minima(limits: Thresholds) -> Dict[str, Tuple[str, float]]:
    return {
        "ap": ("AP", limits.min_ap),
        "ap50": ("AP50", limits.min_ap50),
        "recall": ("recall", limits.min_recall),
        "precision": ("precision (boxes that the reference explains)", limits.min_precision),
        "matched_iou": ("matched IoU", limits.min_matched_iou),
    }


def _failures(figures: Figures, limits: Thresholds) -> Iterator[str]:
    for key, (name, bound) in _minima(limits).items():
        value = getattr(figures, key)
        if value < bound:
            yield f"{name} {value:.3f} (>= {bound:.4g} needed)"
    if abs(figures.score_shift) > limits.max_score_shift:
        yield f"scores shifted by {figures.score_shift:+.3f} (at most {limits.max_score_shift:g} allowed)"


def _collapses(classes: Sequence[Group], cameras: Sequence[Group], limits: Thresholds) -> Iterator[str]:
    for kind, groups, bound in (
        ("class", classes, limits.min_class_recall),
        ("camera", cameras, limits.min_camera_recall),
    ):
        for group in groups:
            if group.evidence >= limits.min_group_evidence and group.recall < bound:
                yield f"{kind} {group.name}: recall {group.recall:.3f} of {group.evidence} boxes (>= {bound:g} needed)"


def _unsure(intervals: Dict[str, Interval], limits: Thresholds) -> Iterator[str]:
    slack = limits.interval_slack
    for key, (name, bound) in _minima(limits).items():
        low, high = intervals[key]
        if low < bound - slack:
            yield f"{name} lies between {low:.3f} and {high:.3f}, too uncertain to pass {bound:g}"
    worst = max(map(abs, intervals["score_shift"]))
    if worst > limits.max_score_shift + slack:
        yield f"scores may be shifted by {worst:.3f}, too uncertain to pass {limits.max_score_shift:g}"
