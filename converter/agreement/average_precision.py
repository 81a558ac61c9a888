"""Average precision by COCO's protocol: 101 recalls, ten IoU thresholds, crowds neither right nor wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from sightd.types import Detections

from .ground_truth import LabelledImage
from .match import COCO_IOUS, iou_matrix, match

__all__ = ["AveragePrecision", "average_precision", "interpolated_precision"]

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class AveragePrecision:
    """What COCO's evaluation prints first: area "all", at most 100 boxes a class and picture."""

    images: int
    #: Labelled objects, without crowds.
    objects: int
    #: Mean over classes and IoU .50:.95.
    ap: float
    #: At IoU .50 only.
    ap50: float

    def as_dict(self) -> Dict[str, Any]:
        """JSON-able, rounded to four places."""
        return {"images": self.images, "objects": self.objects, "ap": round(self.ap, 4), "ap50": round(self.ap50, 4)}


def average_precision(truth: Sequence[LabelledImage], found: Sequence[Detections]) -> AveragePrecision:
    """Judge *found* (down to a score of nearly 0, best first) by the labels of the same pictures in the same order."""
    classes = sorted({int(c) for image in truth for c in image.classes[~image.crowd]})
    table = np.array([_class_precision(truth, found, index) for index in classes]).reshape(-1, len(COCO_IOUS))
    return AveragePrecision(
        images=len(truth),
        objects=sum(int((~image.crowd).sum()) for image in truth),
        ap=float(table.mean()) if classes else 0.0,
        ap50=float(table[:, 0].mean()) if classes else 0.0,
    )


def interpolated_precision(
    right: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    total: float,
    weights: Optional[NDArray[np.float64]] = None,
) -> NDArray[np.float64]:
    """[T] mean over 101 recalls of the best precision at that recall or a higher one, for each IoU threshold.

    :param right: [T, D] found boxes, best scored first.
    :param counted: [T, D] False where a box is neither right nor wrong.
    :param total: true boxes (weighted).
    :param weights: [D] how often each found box is taken; once if None.
    """
    if total <= 0 or not right.shape[1]:
        return np.zeros(len(right))
    weights = np.ones(right.shape[1]) if weights is None else weights
    hits = np.cumsum(right * weights, axis=1)
    precision = hits / np.maximum(np.cumsum(counted * weights, axis=1), 1e-9)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(envelope, ((0, 0), (0, 1)))
    reached = [row[np.searchsorted(recall, _RECALLS, side="left")] for row, recall in zip(padded, hits / total)]
    means: NDArray[np.float64] = np.asarray(reached, np.float64).mean(axis=1)
    return means


def _class_precision(truth: Sequence[LabelledImage], found: Sequence[Detections], index: int) -> NDArray[np.float64]:
    scores, right, counted = [np.zeros(0)], [np.zeros((len(COCO_IOUS), 0), bool)], [np.zeros((len(COCO_IOUS), 0), bool)]
    total = 0
    for image, detections in zip(truth, found):
        true, mine = image.classes == index, detections.classes == index
        crowd = image.crowd[true]
        overlaps = iou_matrix(detections.boxes[mine], image.boxes[true], crowd)
        taken = match(overlaps, crowd, crowd=crowd)
        is_crowd = np.append(crowd, False)[taken]
        scores.append(detections.scores[mine].astype(np.float64))
        right.append((taken >= 0) & ~is_crowd)
        counted.append(~is_crowd)
        total += int((~crowd).sum())
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return interpolated_precision(np.hstack(right)[:, order], np.hstack(counted)[:, order], total)
