"""A histogram of bounded size that loses nothing but resolution, filled a part at a time.

The bins of a histogram are 2^e wide and lie on multiples of 2^e. When a value falls outside, neighbours
are merged until it fits. So the result is exactly the histogram that all the values at once would have
given at the final width, in whatever order they came, and memory does not grow with their number.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "Histogram"]

BINS = 2048
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
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> float:
        """Count *values*, of any shape but not empty; their largest magnitude.

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
        counts = cv2.calcHist([bins.astype(np.uint16)], [0], None, [BINS], [0, BINS])
        self.counts += counts.ravel().astype(np.int64)
        return max(-low, high)

    def edges(self) -> NDArray[np.float64]:
        """[2049] the borders of the bins."""
        return np.ldexp(np.arange(self.first, self.first + BINS + 1, dtype=np.float64), self.exponent)

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
    return last - first < BINS and max(-first, last) < _LARGEST_INDEX
