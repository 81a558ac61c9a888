"""How a tensor's range is read from its histogram: the extremes, or less where few values pay for many."""

from __future__ import annotations

from functools import partial
from typing import Callable, Mapping, Tuple

import numpy as np
from numpy.typing import NDArray

from .histogram import BINS, Histogram

__all__ = ["ALGORITHMS", "Bounds"]

#: Histogram, whether the target's grid is symmetric -> (low, high).
Bounds = Callable[[Histogram, bool], Tuple[float, float]]

#: Of 8 bits, one is the sign: what TensorRT's calibrator maps magnitudes to, and ONNX Runtime's after it.
_LEVELS = 128
_ENTROPY_STEP = 8
#: Shares of the extremes that are tried as the border of the range.
_SHARES = np.linspace(0.02, 1.0, 99)


def _extremes(histogram: Histogram, symmetric: bool) -> Tuple[float, float]:
    return histogram.low, histogram.high


def _percentile(percentile: float, histogram: Histogram, symmetric: bool) -> Tuple[float, float]:
    """The range that leaves out half of the rest at either end, rounded outwards to a whole bin."""
    below = np.cumsum(histogram.counts)
    tail = below[-1] * (1 - percentile / 100) / 2
    edges = histogram.edges()
    low = edges[np.searchsorted(below, tail, side="right")]
    high = edges[np.searchsorted(below, below[-1] - tail, side="left") + 1]
    return max(float(low), histogram.low), min(float(high), histogram.high)


def _entropy(histogram: Histogram, symmetric: bool) -> Tuple[float, float]:
    """The range whose INT8 distribution is closest to the given one by Kullback-Leibler divergence.

    The method of TensorRT's entropy calibrator: S. Migacz, "8-bit Inference with TensorRT", GTC 2017; every eighth
    of its candidates is looked at. As in NVIDIA's pytorch-quantization (calib/histogram.py) the first bin counts as
    much as the second: the zeros behind a ReLU would else outweigh all.
    """
    counts, width = _magnitudes(histogram)
    if len(counts) <= _LEVELS:
        return histogram.low, histogram.high
    counts[0] = counts[1]
    candidates = [*range(_LEVELS, len(counts), _ENTROPY_STEP), len(counts)]
    divergences = [_divergence(counts, kept) for kept in candidates]
    threshold = candidates[int(np.argmin(divergences))] * width
    return max(-threshold, histogram.low), min(threshold, histogram.high)


def _mse(histogram: Histogram, symmetric: bool) -> Tuple[float, float]:
    """The range with the smallest mean squared error of what was seen, on 255 steps."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    used = np.flatnonzero(histogram.counts)
    values, counts = _centres(histogram, used), histogram.counts[used]
    if symmetric:
        limits = max(-low, high) * _SHARES
        limit = float(limits[np.argmin(_errors(values, counts, -limits, limits))])
        return max(-limit, histogram.low), min(limit, histogram.high)
    highs = high * _SHARES
    best_high = float(highs[np.argmin(_errors(values, counts, np.full_like(highs, low), highs))])
    lows = low * _SHARES
    best_low = float(lows[np.argmin(_errors(values, counts, lows, np.full_like(lows, best_high)))])
    return max(best_low, histogram.low), min(best_high, histogram.high)


#: By the name that the manifest records.
ALGORITHMS: Mapping[str, Bounds] = {
    "minmax": _extremes,
    "percentile-99.999": partial(_percentile, 99.999),
    "percentile-99.99": partial(_percentile, 99.99),
    "percentile-99.9": partial(_percentile, 99.9),
    "entropy": _entropy,
    "mse": _mse,
}


def _magnitudes(histogram: Histogram) -> Tuple[NDArray[np.int64], float]:
    """Counts of magnitudes from 0 up to the largest, in at most 2048 bins, and a bin's width."""
    used = np.flatnonzero(histogram.counts)
    index = used + histogram.first
    magnitude = np.where(index < 0, -index - 1, index)
    shift = max(0, int(magnitude.max()).bit_length() - BINS.bit_length() + 1)
    merged = np.bincount(magnitude >> shift, weights=histogram.counts[used])
    return merged.astype(np.int64), float(np.ldexp(1.0, histogram.exponent + shift))


def _divergence(counts: NDArray[np.int64], kept: int) -> float:
    """Of the first *kept* bins with all that lies beyond in the last, from the same bins after merging into levels."""
    truth = counts[:kept].astype(np.float64)
    edges = np.arange(_LEVELS) * kept // _LEVELS
    filled = truth > 0
    sizes = np.add.reduceat(filled.astype(np.float64), edges)
    means = np.add.reduceat(truth, edges) / np.maximum(sizes, 1)
    spread = np.repeat(means, np.diff(np.append(edges, kept))) * filled
    truth[-1] += counts[kept:].sum()
    if not spread.sum():
        return np.inf
    p, q = truth / truth.sum(), spread / spread.sum()
    # What lies beyond is never 0 in truth but may be so in the last bin: a tiny number keeps the divergence finite.
    shown = p > 0
    return float((p[shown] * np.log(p[shown] / np.maximum(q[shown], 1e-12))).sum())


def _centres(histogram: Histogram, used: NDArray[np.intp]) -> NDArray[np.float64]:
    """Where the values of the bins *used* are taken to be: in the middle, but within what was seen."""
    edges = histogram.edges()
    middle: NDArray[np.float64] = (edges[used] + edges[used + 1]) / 2
    return np.clip(middle, histogram.low, histogram.high)


def _errors(
    values: NDArray[np.float64], counts: NDArray[np.int64], lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each pair of borders the summed squared error of *values*, rounded to 255 steps between them."""
    steps = np.maximum((highs - lows) / 255, 1e-30)[:, None]
    zero = np.rint(-lows[:, None] / steps)
    rounded = (np.clip(np.rint(values / steps) + zero, 0, 255) - zero) * steps
    errors: NDArray[np.float64] = np.square(rounded - values) @ counts
    return errors
