"""The YOLO family's decoding, written out anchor by anchor from what was published: nothing of it is ours.

YOLOv8 to v11: Ultralytics' ``Detect``, ``dist2bbox`` and ``DFL`` (generalised focal loss, arXiv 2006.04388, eq. 6).
"""

from __future__ import annotations

import math
from typing import List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Object", "distribution_mean", "sigmoid", "yolov8_objects"]

#: x1, y1, x2, y2 in input pixels, the best class's score, that class.
Object = Tuple[float, float, float, float, float, int]


def yolov8_objects(maps: Sequence[NDArray[np.float32]], strides: Sequence[int], classes: int) -> List[Object]:
    """One picture's anchors from its maps [4 * reg_max + C, rows, columns]."""
    found: List[Object] = []
    for plane, stride in zip(maps, strides):
        channels, rows, columns = plane.shape
        bins = (channels - classes) // 4
        for row in range(rows):
            for column in range(columns):
                cell = plane[:, row, column].astype(float).tolist()
                left, top, right, bottom = (distribution_mean(cell[s * bins : (s + 1) * bins]) for s in range(4))
                scores = [sigmoid(logit) for logit in cell[4 * bins :]]
                x, y = column + 0.5, row + 0.5
                box = (x - left) * stride, (y - top) * stride, (x + right) * stride, (y + bottom) * stride
                found.append((*box, max(scores), scores.index(max(scores))))
    return found


def distribution_mean(logits: Sequence[float]) -> float:
    """The mean of 0, 1, 2 ... weighted by a softmax; a single value is the distance itself."""
    if len(logits) == 1:
        return logits[0]
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return sum(place * weight for place, weight in enumerate(weights)) / sum(weights)


def sigmoid(logit: float) -> float:
    """Of one number."""
    return 1 / (1 + math.exp(-logit))
