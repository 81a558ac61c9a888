"""Agreement without labels: the reference's detections are the truth, the candidate engine's are judged by them.

The reference is the unfinished float model behind its own preprocessing (:mod:`converter.reference`), so
wrong resizing, a wrong decode and a ruined engine all show; an input spec that is wrong for the model does
not, for both sides follow it. A reference box counts towards recall when it
is scored at least ``min_score + margin`` and is recovered when a candidate box of its class, scored at least
``min_score``, overlaps it by ``iou`` or more: boxes near the threshold flip in any build, honest or not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.types import Detections

__all__ = ["Agreement", "Thresholds", "agreement", "iou_matrix", "match"]


@dataclass(frozen=True)
class Thresholds:
    """What an engine must reach; docs/agreement.md derives the defaults from measured honest and ruined engines."""

    #: Score from which a box is reported.
    min_score: float = 0.3
    #: How far above min_score a reference box must lie to count.
    margin: float = 0.1
    iou: float = 0.5
    #: Reference boxes without which nothing can be said.
    min_evidence: int = 200
    min_ap50: float = 0.95
    min_recall: float = 0.95
    #: Boxes that no reference box (of any score >= min_score - margin) explains, a frame.
    max_extra: float = 0.5
    min_matched_iou: float = 0.80


@dataclass(frozen=True)
class Agreement:
    """What was measured on the hold-out frames."""

    frames: int
    #: Reference boxes that count (score >= min_score + margin).
    evidence: int
    #: Average precision at IoU 0.5 of the candidate against the reference's boxes, over all classes.
    ap50: float
    recall: float
    #: Candidate boxes a frame that nothing in the reference explains.
    extra: float
    #: Mean IoU of the matched pairs, and mean candidate score minus reference score.
    matched_iou: float
    score_shift: float
    #: "agrees", "disagrees" or "insufficient-evidence".
    verdict: str
    #: One sentence for people.
    reason: str

    @property
    def agrees(self) -> bool:
        return self.verdict == "agrees"

    def as_dict(self) -> Dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class _FrameMatch:
    """One frame: for each counted reference box its IoU and score shift (IoU 0: missed), and the extra boxes."""

    ious: NDArray[np.float32]
    shifts: NDArray[np.float32]
    extra: int


def agreement(reference: Sequence[Detections], candidate: Sequence[Detections], thresholds: Thresholds) -> Agreement:
    """Judge *candidate* by *reference*, frame by frame in the same order.

    Both hold every detection down to a score of ``min_score - margin`` or lower, after NMS.
    """
    pairs = list(zip(reference, candidate))
    matches = [_match_frame(truth, found, thresholds) for truth, found in pairs]
    ious = np.concatenate([m.ious for m in matches]) if matches else np.zeros(0, np.float32)
    shifts = np.concatenate([m.shifts for m in matches]) if matches else np.zeros(0, np.float32)
    hit = ious > 0
    figures = {
        "ap50": _average_precision(pairs, thresholds),
        "recall": float(hit.mean()) if len(ious) else 0.0,
        "extra": sum(m.extra for m in matches) / max(1, len(matches)),
        "matched_iou": float(ious[hit].mean()) if hit.any() else 0.0,
        "score_shift": float(shifts[hit].mean()) if hit.any() else 0.0,
    }
    verdict, reason = _judge(figures, len(ious), thresholds)
    return Agreement(frames=len(pairs), evidence=len(ious), verdict=verdict, reason=reason, **figures)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """[len(a), len(b)] intersection over union of [N, 4] x1 y1 x2 y2 boxes; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1)[None] - inter
    result: NDArray[np.float32] = inter / np.maximum(areas, 1e-9)
    return result


def match(truth: Detections, found: Detections, iou: float) -> Tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each box of *found*, best first: the index of its box in *truth* (-1: none) and their IoU.

    Greedy as COCO does it: each takes the best overlapping box of its class that is still free.
    """
    overlap = iou_matrix(found.boxes, truth.boxes)
    overlap[found.classes[:, None] != truth.classes[None]] = 0
    indices = np.full(len(found), -1, np.intp)
    ious = np.zeros(len(found), np.float32)
    for i in range(len(found) if len(truth) else 0):
        best = int(overlap[i].argmax())
        if overlap[i, best] >= iou:
            indices[i], ious[i] = best, overlap[i, best]
            overlap[:, best] = 0
    return indices, ious


def _match_frame(truth: Detections, found: Detections, thresholds: Thresholds) -> _FrameMatch:
    reported = _above(found, thresholds.min_score)
    explaining = _above(truth, thresholds.min_score - thresholds.margin)
    indices, ious = match(explaining, reported, thresholds.iou)
    best = np.zeros(len(explaining), np.float32)
    shift = np.zeros(len(explaining), np.float32)
    hit = indices >= 0
    best[indices[hit]] = ious[hit]
    shift[indices[hit]] = reported.scores[hit] - explaining.scores[indices[hit]]
    counted = explaining.scores >= thresholds.min_score + thresholds.margin
    return _FrameMatch(best[counted], shift[counted], int((~hit).sum()))


def _average_precision(pairs: Sequence[Tuple[Detections, Detections]], thresholds: Thresholds) -> float:
    """Area under the precision-recall curve, 101 points as COCO; truth: reference boxes >= min_score.

    A candidate box that matches a reference box below min_score is neither right nor wrong.
    """
    scores: List[float] = []
    right: List[bool] = []
    total = 0
    for truth, found in pairs:
        explaining = _above(truth, thresholds.min_score - thresholds.margin)
        indices, _ = match(explaining, found, thresholds.iou)
        real = explaining.scores >= thresholds.min_score
        total += int(real.sum())
        for score, index in zip(found.scores.tolist(), indices.tolist()):
            if index < 0 or real[index]:
                scores.append(score)
                right.append(index >= 0)
    return interpolated_precision(np.asarray(scores), np.asarray(right, bool), total)


def interpolated_precision(scores: NDArray[np.float64], right: NDArray[np.bool_], total: int) -> float:
    """COCO's AP of one IoU threshold: mean over 101 recalls of the best precision at that recall or a higher one."""
    if total == 0 or len(scores) == 0:
        return 0.0
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / total, np.linspace(0, 1, 101) - 1e-12, side="left")
    return float(np.append(envelope, 0.0)[np.minimum(at, len(envelope))].mean())


def _above(detections: Detections, min_score: float) -> Detections:
    keep = detections.scores >= min_score
    return Detections(detections.boxes[keep], detections.scores[keep], detections.classes[keep])


def _judge(figures: Dict[str, float], evidence: int, thresholds: Thresholds) -> Tuple[str, str]:
    failures = [
        f"{name} {value:.3f} ({relation} {bound:g} needed)"
        for name, value, relation, bound, ok in (
            ("AP50", figures["ap50"], ">=", thresholds.min_ap50, figures["ap50"] >= thresholds.min_ap50),
            ("recall", figures["recall"], ">=", thresholds.min_recall, figures["recall"] >= thresholds.min_recall),
            (
                "extra boxes a frame",
                figures["extra"],
                "<=",
                thresholds.max_extra,
                figures["extra"] <= thresholds.max_extra,
            ),
            (
                "matched IoU",
                figures["matched_iou"],
                ">=",
                thresholds.min_matched_iou,
                figures["matched_iou"] >= thresholds.min_matched_iou,
            ),
        )
        if not ok
    ]
    if evidence < thresholds.min_evidence:
        needed = f"only {evidence} reference boxes in the hold-out, {thresholds.min_evidence} needed"
        return "insufficient-evidence", f"{needed}: capture busier or more frames"
    if failures:
        return "disagrees", "; ".join(failures)
    return "agrees", f"AP50 {figures['ap50']:.3f}, recall {figures['recall']:.3f} over {evidence} reference boxes"
