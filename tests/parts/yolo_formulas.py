"""The YOLO family's decoding, written out anchor by anchor from what was published: nothing of it is ours.

YOLOv8 to v11: Ultralytics' ``Detect``, ``dist2bbox`` and ``DFL`` (generalised focal loss, arXiv 2006.04388, eq. 6).
YOLOv10: ``v10postprocess``. YOLOv5 and v7: ``Detect.forward`` (https://github.com/ultralytics/yolov5/issues/471).
"""

from __future__ import annotations

import math
from typing import Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Object", "yolov5_objects", "yolov8_objects", "yolov10_objects"]

#: x1, y1, x2, y2 in input pixels, score, class.
Object = Tuple[float, float, float, float, float, int]
#: Stride -> [channels, rows, columns], the predictions of one picture.
Maps = Mapping[int, NDArray[np.float32]]


def yolov5_objects(maps: Maps, anchor_boxes: Mapping[int, Sequence[Tuple[int, int]]]) -> List[Object]:
    """Every anchor's best class."""
    found: List[Object] = []
    for stride, plane in maps.items():
        values = len(plane) // len(anchor_boxes[stride])
        for number, (anchor_w, anchor_h) in enumerate(anchor_boxes[stride]):
            for column, row, cell in _cells(plane[number * values : (number + 1) * values]):
                tx, ty, tw, th, objectness, *classes = (sigmoid(value) for value in cell)
                x, y = (2 * tx - 0.5 + column) * stride, (2 * ty - 0.5 + row) * stride
                w, h = (2 * tw) ** 2 * anchor_w, (2 * th) ** 2 * anchor_h
                best = max(classes)
                found.append(
                    (x - w / 2, y - h / 2, x + w / 2, y + h / 2, objectness * best, classes.index(best)),
                )
    return found


def yolov8_objects(maps: Maps, classes: int) -> List[Object]:
    """Every anchor's best class."""
    return [(*box, max(scores), scores.index(max(scores))) for box, scores in _yolov8_anchors(maps, classes)]


def yolov10_objects(maps: Maps, classes: int, count: int) -> List[Object]:
    """Of the *count* anchors that score best the *count* best pairs of anchor and class."""
    anchors = sorted(_yolov8_anchors(maps, classes), key=lambda anchor: -max(anchor[1]))[:count]
    pairs = [(*box, score, number) for box, scores in anchors for number, score in enumerate(scores)]
    return sorted(pairs, key=lambda pair: -pair[4])[:count]


def sigmoid(logit: float) -> float:
    """Of one number."""
    return 1 / (1 + math.exp(-logit))


def _yolov8_anchors(maps: Maps, classes: int) -> Iterator[Tuple[Tuple[float, float, float, float], List[float]]]:
    """Box and class scores of every anchor."""
    for stride, plane in maps.items():
        bins = (len(plane) - classes) // 4
        for column, row, cell in _cells(plane):
            left, top, right, bottom = (_mean(cell[side * bins : (side + 1) * bins]) for side in range(4))
            x, y = column + 0.5, row + 0.5
            box = (x - left) * stride, (y - top) * stride, (x + right) * stride, (y + bottom) * stride
            yield box, [sigmoid(logit) for logit in cell[4 * bins :]]


def _cells(plane: NDArray[np.float32]) -> Iterator[Tuple[int, int, List[float]]]:
    """Column, row and channels of every cell."""
    _, rows, columns = plane.shape
    for row in range(rows):
        for column in range(columns):
            yield column, row, plane[:, row, column].astype(float).tolist()


def _mean(logits: Sequence[float]) -> float:
    """Of 0, 1, 2 ... weighted by a softmax; a single value is the distance itself."""
    if len(logits) == 1:
        return logits[0]
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return sum(place * weight for place, weight in enumerate(weights)) / sum(weights)
