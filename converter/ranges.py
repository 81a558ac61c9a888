"""Activation ranges: one float pass over the calibration frames, kept as histograms of bounded size.

The bins of a histogram are 2^e wide and lie on multiples of 2^e. When a value falls outside, neighbours
are merged until it fits. So the result is exactly the histogram that all the values at once would have
given at the final width, in whatever order the frames came, and memory does not grow with their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Iterable, List, Mapping, Sequence, Tuple

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.errors import CalibrationError

from .session import Session

__all__ = ["ALGORITHMS", "Histogram", "Ranges", "collect_ranges"]

_BINS = 2048
#: Borders are whole numbers of bins, exact in float32 up to here; it also gives a constant tensor a width.
_LARGEST_INDEX = 1 << 24
_FINEST = -40


class Histogram:
    """The values of one tensor: exact extremes and 2048 bins, however many values there were."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf
        #: Bin i holds the values in [first + i, first + i + 1) * 2**exponent.
        self.exponent = _FINEST
        self.first = 0
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count *values*, of any shape but not empty.

        :raises ValueError: one of them is NaN or infinite.
        """
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("NaN or infinity")
        self.low, self.high = min(low, self.low), max(high, self.high)
        self._widen()
        bins = values.reshape(1, -1) * np.float32(2.0**-self.exponent)
        np.floor(bins, out=bins)
        bins -= np.float32(self.first)
        # Twice as fast as numpy.bincount, which wants int64.
        counts = cv2.calcHist([bins.astype(np.uint16)], [0], None, [_BINS], [0, _BINS])
        self.counts += counts.ravel().astype(np.int64)

    def edges(self) -> NDArray[np.float64]:
        """[2049] the borders of the bins."""
        return np.ldexp(np.arange(self.first, self.first + _BINS + 1, dtype=np.float64), self.exponent)

    def _widen(self) -> None:
        """Merge bins until the lowest and the highest value have one."""
        exponent = self.exponent
        while not _fits(self.low, self.high, exponent):
            exponent += 1
        first = math.floor(math.ldexp(self.low, -exponent))
        if (exponent, first) == (self.exponent, self.first):
            return
        used = np.flatnonzero(self.counts)
        counts = np.zeros_like(self.counts)
        np.add.at(counts, ((used + self.first) >> (exponent - self.exponent)) - first, self.counts[used])
        self.exponent, self.first, self.counts = exponent, first, counts


def _fits(low: float, high: float, exponent: int) -> bool:
    first, last = math.floor(math.ldexp(low, -exponent)), math.floor(math.ldexp(high, -exponent))
    return last - first < _BINS and max(-first, last) < _LARGEST_INDEX


def _percentile(percentile: float, histogram: Histogram) -> Tuple[float, float]:
    """The range that leaves out half of the rest at either end, rounded outwards to a whole bin."""
    below = np.cumsum(histogram.counts)
    tail = below[-1] * (1 - percentile / 100) / 2
    edges = histogram.edges()
    low = edges[np.searchsorted(below, tail, side="right")]
    high = edges[np.searchsorted(below, below[-1] - tail, side="left") + 1]
    return max(float(low), histogram.low), min(float(high), histogram.high)


#: How a range is read from a histogram, by the name that the manifest records.
ALGORITHMS: Mapping[str, Callable[[Histogram], Tuple[float, float]]] = {
    "minmax": lambda histogram: (histogram.low, histogram.high),
    "percentile-99.999": partial(_percentile, 99.999),
    "percentile-99.99": partial(_percentile, 99.99),
}


@dataclass(frozen=True)
class Ranges:
    """What one pass over the calibration frames saw."""

    histograms: Mapping[str, Histogram]
    frames: int

    def bounds(self, tensor: str, algorithm: str) -> Tuple[float, float]:
        """(low, high) of *tensor* by one of ALGORITHMS.

        :raises CalibrationError: the tensor was not watched.
        """
        try:
            return ALGORITHMS[algorithm](self.histograms[tensor])
        except KeyError:
            raise CalibrationError(f"no range for tensor {tensor!r} ({algorithm}); calibrate this very model") from None

    def silent(self) -> List[str]:
        """The tensors that were zero in every frame: calibration says nothing about them."""
        return [name for name, seen in self.histograms.items() if seen.low == seen.high == 0]


def collect_ranges(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    inputs: Iterable[NDArray[Any]],
    *,
    on_frame: Callable[[int], None] = lambda frames: None,
) -> Ranges:
    """Run *model* on every one of *inputs* (its one input, batch 1) and watch *tensors* (float32).

    One frame is held at a time. *on_frame* is called after each with the number done so far.

    :raises CalibrationError: there is no frame, or a tensor became NaN or infinite.
    """
    session = _watching(model, tensors)
    histograms = {name: Histogram() for name in tensors}
    frames = 0
    for pixels in inputs:
        for name, values in zip(tensors, session.run(pixels)):
            _count(histograms[name], name, values, frames)
        frames += 1
        on_frame(frames)
    if frames == 0:
        raise CalibrationError("no calibration frames: capture some first (sightd capture)")
    return Ranges(histograms, frames)


def _count(histogram: Histogram, name: str, values: NDArray[np.float32], frame: int) -> None:
    try:
        histogram.add(values)
    except ValueError as error:
        raise CalibrationError(
            f"tensor {name!r} has {error} in calibration frame {frame}: the float model itself fails on it; "
            "check the input spec (scale, mean, std) and the model"
        ) from error


def _watching(model: onnx.ModelProto, tensors: Sequence[str]) -> Session:
    """*model* with *tensors* as its outputs; what lies behind all of them is not computed."""
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    watching.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return Session(watching)
