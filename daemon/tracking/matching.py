"""Which boxes belong together: how much they overlap, and pairs of those that overlap most."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_pairs", "overlaps"]


def overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, M] IoU of [N, 4] and [M, 4] boxes, all of which have an area."""
    left, top, right, bottom = boxes.T[:, :, None]
    lefts, tops, rights, bottoms = others.T
    width = np.minimum(right, rights) - np.maximum(left, lefts)
    height = np.minimum(bottom, bottoms) - np.maximum(top, tops)
    shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    areas, others_areas = (right - left) * (bottom - top), (rights - lefts) * (bottoms - tops)
    return np.asarray(shared / (areas + others_areas - shared), np.float64)


def best_pairs(similarity: NDArray[np.float64], least: float) -> Tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pairs, each in one pair at most, in no particular order.

    They are those of the greedy choice, which takes the most similar pair of all, then of what is left, and so on;
    here all pairs at once of which each is the other's best. Mostly that is everything in the first round; each
    round finds one at least, so there are no more than min(N, M).

    :param similarity: [N, M]; pairs below *least*, which is above 0, are none.
    """
    every = np.arange(len(similarity))
    rows, columns = every[:0], every[:0]
    if not similarity.size:
        return rows, columns
    left = similarity.copy()
    while len(rows) < min(left.shape):
        column = left.argmax(axis=1)
        best = (left.argmax(axis=0)[column] == every) & (left[every, column] >= least)
        mutual = best.nonzero()[0]
        if not len(mutual):
            break
        rows, columns = np.concatenate([rows, mutual]), np.concatenate([columns, column[mutual]])
        left[mutual] = 0.0
        left[:, column[mutual]] = 0.0
    return rows, columns
