"""How well the frames that were chosen stand for all that there were to choose from."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from .select import Stratum

__all__ = ["Coverage", "Growth", "Radius", "coverage", "radius_of", "saturation"]

_RANDOM_CHOICES = 5
_FIRST = 8


@dataclass(frozen=True)
class Radius:
    """Distances of all candidates to the nearest frame that was chosen."""

    greatest: float
    mean: float


@dataclass(frozen=True)
class Growth:
    """What the first *frames* of the choice reach of each activation's greatest magnitude in the whole choice."""

    frames: int
    #: Over the activations, 0 to 1: the mean, the lowest twentieth's border, the lowest.
    mean: float
    twentieth: float
    least: float


@dataclass(frozen=True)
class Coverage:
    """A choice beside what it was made from."""

    candidates: int
    chosen: int
    #: What distances are between: "embeddings" (0 to 2), else "thumbnails" (root mean square, 0 to 255).
    space: str
    radius: Radius
    #: The same of random choices of as many frames, the mean of five.
    random_radius: Radius
    #: "camera", "hour", "light", "busyness" -> value -> (candidates, chosen).
    strata: Dict[str, Dict[str, Tuple[int, int]]]
    #: For 8, 16, 32 ... frames in the order of choice; empty until activations were measured.
    saturation: Tuple[Growth, ...] = field(default=())

    def as_dict(self) -> Dict[str, Any]:
        """For the manifest and the report; floats are rounded."""
        rounded: Dict[str, Any] = _rounded(asdict(self))
        return rounded


def coverage(points: NDArray[np.float32], strata: Sequence[Stratum], chosen: Sequence[int], space: str) -> Coverage:
    """How the rows *chosen* of *points* ([candidates, D]) stand for all of them."""
    scale = 1.0 if space == "embeddings" else points.shape[1] ** 0.5
    scaled = points / np.float32(scale)
    random = [
        radius_of(scaled, np.random.default_rng(seed).permutation(len(points))[: len(chosen)].tolist())
        for seed in range(_RANDOM_CHOICES)
    ]
    return Coverage(
        candidates=len(points),
        chosen=len(chosen),
        space=space,
        radius=radius_of(scaled, chosen),
        random_radius=Radius(
            float(np.mean([one.greatest for one in random])), float(np.mean([one.mean for one in random]))
        ),
        strata=_counts(strata, chosen),
    )


def radius_of(points: NDArray[np.float32], chosen: Sequence[int]) -> Radius:
    """How far the rows of *points* lie from the nearest of the rows *chosen*."""
    exact = points.astype(np.float64)  # squares of float32 would lose what is close together
    norms = np.square(exact).sum(axis=1)
    nearest = np.full(len(points), np.inf)
    for place in chosen:
        nearest = np.minimum(nearest, norms + norms[place] - 2 * (exact @ exact[place]))
    apart = np.sqrt(np.maximum(nearest, 0))
    apart[list(chosen)] = 0
    return Radius(float(apart.max()), float(apart.mean()))


def saturation(maxima: NDArray[np.float32]) -> Tuple[Growth, ...]:
    """How soon the greatest magnitudes are seen.

    :param maxima: [frames, activations] greatest magnitude in each frame, frames in the order of choice.
    """
    final = maxima.max(axis=0, initial=0)
    seen = np.maximum.accumulate(maxima[:, final > 0], axis=0) / final[final > 0]
    return tuple(_growth(frames, seen[frames - 1]) for frames in _doubling(len(seen)) if seen.size)


def _growth(frames: int, shares: NDArray[np.float32]) -> Growth:
    return Growth(frames, float(shares.mean()), float(np.quantile(shares, 0.05)), float(shares.min()))


def _doubling(last: int) -> List[int]:
    """8, 16, 32 ... and *last*."""
    steps = []
    step = _FIRST
    while step < last:
        steps.append(step)
        step *= 2
    return [*steps, last]


def _counts(strata: Sequence[Stratum], chosen: Sequence[int]) -> Dict[str, Dict[str, Tuple[int, int]]]:
    """The strata by each of what makes them up: their product has more cells than a reader has patience."""
    named = [(camera, f"{hour:02}", light, busyness) for camera, hour, light, busyness in strata]
    counts: Dict[str, Dict[str, Tuple[int, int]]] = {}
    for column, name in enumerate(("camera", "hour", "light", "busyness")):
        there = Counter(row[column] for row in named)
        taken = Counter(named[place][column] for place in chosen)
        counts[name] = {value: (number, taken[value]) for value, number in sorted(there.items())}
    return counts


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
