"""Which boxes belong together: how much they overlap, and pairs of those that overlap most."""

from __future__ import annotations

from bisect import bisect_left
from typing import Iterable, List, Sequence, Set, Tuple

__all__ = ["Box", "Overlap", "best_pairs", "overlaps"]

#: x1, y1, x2, y2, and the class; all boxes have an area.
Box = Tuple[float, float, float, float, int]
#: Minus the IoU, so that the best comes first, and the places of two boxes of the same class in their lists.
Overlap = Tuple[float, int, int]


def overlaps(boxes: Sequence[Box], others: Sequence[Box], least: float) -> List[Overlap]:
    """Which of the *boxes* and *others* overlap by *least*, which is above 0, in no particular order.

    From left to right, so that what is far apart costs little; in plain numbers, see :mod:`daemon.tracking.motion`.
    """
    found: List[Overlap] = []
    ordered = sorted((*box, column) for column, box in enumerate(others))
    lefts = [other[0] for other in ordered]
    widest = max((right - left for left, _, right, *_ in others), default=0.0)
    for row, (left, top, right, bottom, class_id) in enumerate(boxes):
        reached = ordered[bisect_left(lefts, left - widest) : bisect_left(lefts, right)]
        for other_left, other_top, other_right, other_bottom, other_class, column in reached:
            if left < other_right and other_top < bottom and top < other_bottom and class_id == other_class:
                # Conditions, for min() and max() are calls.
                width = (right if right < other_right else other_right) - (left if left > other_left else other_left)
                height = (bottom if bottom < other_bottom else other_bottom) - (top if top > other_top else other_top)
                shared = width * height
                others_area = (other_right - other_left) * (other_bottom - other_top)
                iou = shared / ((right - left) * (bottom - top) + others_area - shared)
                if iou >= least:
                    found.append((-iou, row, column))
    return found


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
