"""Matches boxes as COCO does: greedily, the best scored first, at several IoU thresholds at once."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from sightd.types import Detections

__all__ = ["COCO_IOUS", "class_overlaps", "iou_matrix", "match"]

#: .50, .55 ... .95: COCO's AP is the mean over these.
COCO_IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)


def iou_matrix(a: NDArray[Any], b: NDArray[Any], crowd: Optional[NDArray[np.bool_]] = None) -> NDArray[np.float64]:
    """[len(a), len(b)] intersection over union of [N, 4] x1 y1 x2 y2 boxes; 0 where both are empty.

    :param crowd: [len(b)] which of *b* enclose many objects: with these it is the share of *a* that lies inside.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    own = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None]
    union = own + (b[:, 2:] - b[:, :2]).prod(axis=1)[None] - inter
    if crowd is not None:
        union = np.where(crowd[None], own, union)
    result: NDArray[np.float64] = inter / np.maximum(union, 1e-9)
    return result


def class_overlaps(found: Detections, truth: Detections) -> NDArray[np.float64]:
    """[len(found), len(truth)] IoU, 0 between boxes of different classes."""
    same = found.classes[:, None] == truth.classes[None]
    return np.where(same, iou_matrix(found.boxes, truth.boxes), 0.0)


def match(
    overlaps: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    ious: NDArray[np.float64] = COCO_IOUS,
    crowd: Optional[NDArray[np.bool_]] = None,
) -> NDArray[np.intp]:
    """[len(ious), D] for each found box, best scored first: the index of its true box, or -1.

    Each takes the true box that it overlaps most and that is still free; an ignored one only where no other will do.

    :param overlaps: [D, G] as :func:`iou_matrix`.
    :param ignored: [G] true boxes that are neither to be found nor wrong to find.
    :param crowd: [G] ignored ones that any number of found boxes may take.
    """
    found, true = overlaps.shape
    taken = np.full((len(ious), found), -1, np.intp)
    free = np.ones((len(ious), true), bool)
    levels = np.arange(len(ious))
    for row in range(found if true else 0):
        reachable = free & (overlaps[row][None] >= ious[:, None])
        real = reachable & ~ignored
        allowed = np.where(real.any(axis=1)[:, None], real, reachable)
        best = np.where(allowed, overlaps[row][None], -1.0).argmax(axis=1)
        hit = allowed[levels, best]
        taken[hit, row] = best[hit]
        free[levels[hit], best[hit]] = False if crowd is None else crowd[best[hit]]
    return taken
