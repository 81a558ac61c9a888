"""Which boxes belong together: how much they overlap, and pairs of those that overlap most."""

from __future__ import annotations

from typing import Iterable, Iterator, List, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Overlap", "best_pairs", "overlaps"]

#: x1, y1, x2, y2, and the class; all boxes have an area.
Box = Tuple[float, float, float, float, int]
#: Minus the IoU, so that the best comes first, and the places of two boxes of the same class in their lists.
Overlap = Tuple[float, int, int]

#: Up to so many pairs are faster looked at one by one than by NumPy, whose operations cost the same for any number.
_FEW = 300


def overlaps(boxes: Sequence[Box], others: Sequence[Box], least: float) -> List[Overlap]:
    """Which of the *boxes* and *others* overlap by *least*, which is above 0, in no particular order."""
    if len(boxes) * len(others) <= _FEW:
        return list(_few(boxes, others, least))
    ious = _ious(np.array(boxes).T[:, :, None], np.array(others).T)
    rows, columns = np.nonzero(ious >= least)
    return list(zip((-ious[rows, columns]).tolist(), rows.tolist(), columns.tolist()))


def best_pairs(found: Iterable[Overlap]) -> List[Tuple[int, int]]:
    """The greedy choice: the two that overlap most, then of what is left, and so on; the first ones of equals."""
    pairs: List[Tuple[int, int]] = []
    rows: Set[int] = set()
    columns: Set[int] = set()
    for _, row, column in sorted(found):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column))
    return pairs


def _few(boxes: Sequence[Box], others: Sequence[Box], least: float) -> Iterator[Overlap]:
    for row, (left, top, right, bottom, class_id) in enumerate(boxes):
        for column, (lefts, tops, rights, bottoms, others_class) in enumerate(others):
            if lefts < right and left < rights and tops < bottom and top < bottoms and class_id == others_class:
                # Conditions, for min() and max() are calls.
                width = (right if right < rights else rights) - (left if left > lefts else lefts)
                height = (bottom if bottom < bottoms else bottoms) - (top if top > tops else tops)
                shared = width * height
                iou = shared / ((right - left) * (bottom - top) + (rights - lefts) * (bottoms - tops) - shared)
                if iou >= least:
                    yield -iou, row, column


def _ious(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, M] of [5, N, 1] and [5, M]; 0 between different classes."""
    (left, top, right, bottom, classes), (lefts, tops, rights, bottoms, others_classes) = boxes, others
    width = np.minimum(right, rights) - np.maximum(left, lefts)
    height = np.minimum(bottom, bottoms) - np.maximum(top, tops)
    shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    areas, others_areas = (right - left) * (bottom - top), (rights - lefts) * (bottoms - tops)
    return np.asarray(shared / (areas + others_areas - shared) * (classes == others_classes), np.float64)
