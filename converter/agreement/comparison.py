"""Two sides' boxes of all frames, matched: every figure of agreement is a sum over these tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.types import Detections

from .average_precision import interpolated_precision
from .match import COCO_IOUS, class_overlaps, match

__all__ = ["Boxes", "Comparison", "Figures", "Levels", "compare"]


@dataclass(frozen=True)
class Levels:
    """The scores and the overlap that boxes are counted by."""

    #: A box is reported from this score on, and evidence from ``margin`` above it.
    min_score: float
    margin: float
    #: What a box must overlap its counterpart by.
    iou: float

    @property
    def ranked_score(self) -> float:
        """From here on a reference box counts for AP: below what is reported, where damage shows first."""
        return self.min_score / 2

    @property
    def floor(self) -> float:
        """Detections are needed down to this score."""
        return max(0.01, self.ranked_score - self.margin)


@dataclass(frozen=True)
class Figures:
    """What the thresholds are compared with."""

    #: Average precision of the candidate's boxes, the reference's being the truth, over all classes: IoU .50:.95, .50.
    ap: float
    ap50: float
    #: Share of the evidence that was found again, and of the reported boxes that the reference explains.
    recall: float
    precision: float
    #: Reported boxes a frame that nothing in the reference explains.
    extra: float
    #: Means over the evidence that was found again; the shift is the candidate's score less the reference's.
    matched_iou: float
    score_shift: float


@dataclass(frozen=True)
class Boxes:
    """Some boxes of all frames: [N] the frame each is in, and its class."""

    frame: NDArray[np.intp]
    class_id: NDArray[np.int32]


@dataclass(frozen=True)
class Comparison:
    """One candidate beside the reference, on F frames."""

    frames: int
    #: The reference's boxes that AP wants found.
    truth: Boxes
    #: The candidate's boxes, best scored first over all frames; [10, D] by COCO_IOUS.
    ranked: Boxes
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    #: The reference's boxes that are evidence; [E] IoU with what was found, 0: nothing, and the shift of its score.
    evidence: Boxes
    iou: NDArray[np.float64]
    shift: NDArray[np.float64]
    #: The candidate's reported boxes, and those of them that nothing explains.
    reported: Boxes
    extra: Boxes

    def figures(self, weights: Optional[NDArray[np.float64]] = None) -> Figures:
        """Over all frames; *weights* [F] says how often each is taken, once if None."""
        weights = np.ones(self.frames) if weights is None else weights
        total = float(weights[self.truth.frame].sum())
        ap = interpolated_precision(self.right, self.counted, total, weights[self.ranked.frame])
        found = weights[self.evidence.frame] * (self.iou > 0)
        extra = weights[self.extra.frame].sum()
        return Figures(
            ap=float(ap.mean()),
            ap50=float(ap[0]),
            recall=_ratio(found.sum(), weights[self.evidence.frame].sum()),
            precision=1 - _ratio(extra, weights[self.reported.frame].sum()),
            extra=_ratio(extra, weights.sum()),
            matched_iou=_ratio((found * self.iou).sum(), found.sum()),
            score_shift=_ratio((found * self.shift).sum(), found.sum()),
        )

    def part(self, *, class_id: Optional[int] = None, frames: Optional[NDArray[np.bool_]] = None) -> Comparison:
        """Only one class, or only the frames for which [F] *frames* is true; frames keep their numbers."""

        def keep(boxes: Boxes) -> NDArray[np.bool_]:
            of_class = np.ones(len(boxes.frame), bool) if class_id is None else boxes.class_id == class_id
            return of_class if frames is None else of_class & frames[boxes.frame]

        ranked, evidence = keep(self.ranked), keep(self.evidence)
        return Comparison(
            frames=self.frames,
            truth=_those(self.truth, keep(self.truth)),
            ranked=_those(self.ranked, ranked),
            right=self.right[:, ranked],
            counted=self.counted[:, ranked],
            evidence=_those(self.evidence, evidence),
            iou=self.iou[evidence],
            shift=self.shift[evidence],
            reported=_those(self.reported, keep(self.reported)),
            extra=_those(self.extra, keep(self.extra)),
        )


def compare(reference: Sequence[Detections], candidate: Sequence[Detections], levels: Levels) -> Comparison:
    """Match *candidate* with *reference*, frame by frame in the same order.

    Both hold every detection down to ``levels.floor`` or lower, after NMS, best first. A reference box up to
    ``margin`` too low explains what is found there but need not be found.
    """
    frames = [_Frame(truth, found, levels) for truth, found in zip(reference, candidate)]
    right, counted = _stacked([frame.right for frame in frames]), _stacked([frame.counted for frame in frames])
    order = np.argsort(-_joined([frame.ranked.scores for frame in frames]), kind="stable")
    decided = np.flatnonzero(counted.any(axis=0))  # most faint boxes are neither right nor wrong at any overlap
    order = order[np.isin(order, decided)]
    return Comparison(
        frames=len(frames),
        truth=_boxes([frame.truth for frame in frames]),
        ranked=_those(_boxes([frame.ranked for frame in frames]), order),
        right=right[:, order],
        counted=counted[:, order],
        evidence=_boxes([frame.evidence for frame in frames]),
        iou=_joined([frame.iou for frame in frames]),
        shift=_joined([frame.shift for frame in frames]),
        reported=_boxes([frame.reported for frame in frames]),
        extra=_boxes([frame.extra for frame in frames]),
    )


class _Frame:
    """One frame, matched twice: all boxes in the order of their scores for AP, then those that are reported."""

    def __init__(self, reference: Detections, candidate: Detections, levels: Levels) -> None:
        self.truth = _above(reference, levels.ranked_score)
        self.ranked = _above(candidate, levels.floor)
        taken, real, _ = _matched(self.ranked, _above(reference, levels.floor), levels.ranked_score, COCO_IOUS)
        self.right = real[taken]
        self.counted = (taken < 0) | self.right

        explaining = _above(reference, levels.min_score - levels.margin)
        counts = explaining.scores >= levels.min_score + levels.margin
        self.evidence = _above(reference, levels.min_score + levels.margin)
        self.reported = _above(candidate, levels.min_score)
        (taken,), _, overlaps = _matched(self.reported, explaining, levels.min_score, np.array([levels.iou]))
        self.extra = _chosen(self.reported, taken < 0)
        iou, shift = np.zeros(len(explaining)), np.zeros(len(explaining))
        rows = np.flatnonzero(taken >= 0)
        columns = taken[rows]
        iou[columns] = overlaps[rows, columns]
        shift[columns] = self.reported.scores[rows] - explaining.scores[columns]
        self.iou, self.shift = iou[counts], shift[counts]


def _matched(
    found: Detections, truth: Detections, min_score: float, ious: NDArray[np.float64]
) -> Tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.float64]]:
    """What each found box takes, whether a true box is to be found (False at -1, for none), and the overlaps."""
    overlaps = class_overlaps(found, truth)
    real = truth.scores >= min_score
    return match(overlaps, ~real, ious), np.append(real, False), overlaps


def _above(detections: Detections, min_score: float) -> Detections:
    return _chosen(detections, detections.scores >= min_score)


def _chosen(detections: Detections, keep: NDArray[np.bool_]) -> Detections:
    return Detections(detections.boxes[keep], detections.scores[keep], detections.classes[keep])


def _boxes(frames: Sequence[Detections]) -> Boxes:
    classes = np.concatenate([np.zeros(0, np.int32), *(frame.classes for frame in frames)])
    return Boxes(np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]), classes)


def _those(boxes: Boxes, chosen: NDArray[Any]) -> Boxes:
    return Boxes(boxes.frame[chosen], boxes.class_id[chosen])


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *parts])


def _stacked(parts: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.hstack([np.zeros((len(COCO_IOUS), 0), bool), *parts])


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
