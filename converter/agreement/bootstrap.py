"""How far a figure could have come out otherwise: bootstrap over the frames, in blocks of neighbours in time."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["blocks", "interval", "resamples"]


def blocks(cameras: Sequence[str], times: Sequence[float]) -> NDArray[np.intp]:
    """[F] for each frame the number of its block.

    Neighbours of one camera show the same objects, so they stand or fall together. Of n frames of a camera, about
    the cube root of n in a row make a block (the length that Hall, Horowitz and Jing, 1995, derive for a variance).
    """
    place: NDArray[np.intp] = np.zeros(len(cameras), np.intp)
    number = 0
    for camera in sorted(set(cameras)):
        members = sorted((times[i], i) for i in range(len(cameras)) if cameras[i] == camera)
        length = max(1, round(len(members) ** (1 / 3)))
        for rank, (_, frame) in enumerate(members):
            place[frame] = number + rank // length
        number += -(-len(members) // length)
    return place


def resamples(block_of: NDArray[np.intp], count: int, seed: int = 0) -> NDArray[np.float64]:
    """[count, F] how often each frame is taken when as many blocks as there are are drawn with replacement."""
    if not len(block_of):
        return np.zeros((count, 0))
    number = int(block_of.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(number, [1 / number] * number, count)
    weights: NDArray[np.float64] = drawn[:, block_of].astype(np.float64)
    return weights


def interval(values: NDArray[np.float64], share: float = 0.95) -> Tuple[float, float]:
    """The middle *share* of *values*; NaN (a resample that had nothing to measure) is left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return 0.0, 0.0
    ends: List[float] = np.quantile(known, [(1 - share) / 2, (1 + share) / 2]).tolist()
    return ends[0], ends[1]
