"""Class-wise non-maximum suppression over the K candidates of each picture of a batch."""

from __future__ import annotations

from typing import List, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import Candidates, Detections, Placement

__all__ = ["detections"]


def detections(
    candidates: Candidates,
    placements: Sequence[Placement],
    *,
    min_score: float,
    iou: float,
    max_objects: int = 100,
) -> List[Detections]:
    """The objects of each picture, best first, boxes in source pixels.

    :param candidates: of at least ``len(placements)`` pictures, scores descending.
    :param min_score: candidates below it are ignored.
    :param iou: of two boxes of one class that overlap by more than this, the lower one is dropped.
    :param max_objects: at most so many a picture.
    """
    return [
        _one(candidates.boxes[i], candidates.scores[i], candidates.classes[i], place, min_score, iou, max_objects)
        for i, place in enumerate(placements)
    ]


def _one(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int32],
    place: Placement,
    min_score: float,
    iou: float,
    max_objects: int,
) -> Detections:
    count = int(np.count_nonzero(scores >= min_score))
    boxes, scores, classes = boxes[:count], scores[:count], classes[:count]
    keep = _suppress(boxes, scores, classes, iou)[:max_objects]
    return Detections(place.to_source(boxes[keep]), scores[keep], classes[keep])


def _suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int32], iou: float
) -> NDArray[np.intp]:
    """The indices to keep, best first.

    Each class is moved to a place of its own, so one class-blind pass does (the trick of torchvision's
    batched_nms); cv2.dnn.NMSBoxesBatched would do as well but is missing from JetPack 5's OpenCV 4.5.4.
    """
    if len(scores) < 2:
        return np.arange(len(scores))
    span = float(np.abs(boxes).max()) * 2.0 + 1.0
    moved = boxes.astype(np.float64)
    moved[:, 2:] -= moved[:, :2]  # to x, y, width, height
    moved[:, :2] += classes[:, None] * span
    keep = cv2.dnn.NMSBoxes(moved, scores, 0.0, iou)  # type: ignore[arg-type]  # arrays are taken, the stubs say lists
    return np.asarray(keep, np.intp).reshape(-1)  # () when empty; [n, 1] in old releases
