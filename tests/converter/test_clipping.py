"""Each way of reading a range from a histogram against the plainest code that does the same to the values."""

from __future__ import annotations

import time
from typing import Dict, Tuple

import numpy as np
import pytest
from numpy.typing import NDArray

from converter.int8.clipping import ALGORITHMS
from converter.int8.histogram import Histogram

RANDOM = np.random.default_rng(5)

VALUES: Dict[str, NDArray[np.float32]] = {
    name: values.astype(np.float32)
    for name, values in {
        "normal": RANDOM.normal(0, 1, 40_000),
        "behind a ReLU": np.maximum(RANDOM.normal(0, 2, 40_000), 0),
        "long tails": RANDOM.standard_t(3, 40_000),
        "one-sided, with an outlier": np.append(RANDOM.exponential(1, 40_000), [60.0]),
        "negative": -RANDOM.exponential(0.1, 20_000),
    }.items()
}
ODD = {"one value": [3.0], "zero": [0.0], "two values": [-1.0, 250.0], "far from zero": [1000.0, 1001.0, 1003.5]}


def histogram_of(values: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def rounding_error(values: NDArray[np.float32], low: float, high: float, symmetric: bool) -> float:
    """Mean squared error of INT8 with that range, value by value."""
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    step = (high - low) / (254 if symmetric else 255)
    zero = 0 if symmetric else round(-low / step)
    first, last = (-127, 127) if symmetric else (0, 255)
    rounded = (np.clip(np.rint(values.astype(np.float64) / step) + zero, first, last) - zero) * step
    return float(np.square(rounded - values).mean())


def divergence(counts: NDArray[np.int64], kept: int) -> float:
    """As the slides have it: P clipped with its outliers in the last bin, Q of 128 levels spread over P's own bins."""
    p = [float(count) for count in counts[:kept]]
    p[-1] += float(counts[kept:].sum())
    q = [0.0] * kept
    for level in range(128):
        bins = [b for b in range(level * kept // 128, (level + 1) * kept // 128) if counts[b]]
        for b in bins:
            q[b] = float(sum(counts[b] for b in bins)) / len(bins)
    if not sum(q):
        return float("inf")
    shares = [(one / sum(p), max(other / sum(q), 1e-12)) for one, other in zip(p, q)]
    return sum(one * float(np.log(one / other)) for one, other in shares if one)


def entropy_threshold(values: NDArray[np.float32], width: float) -> float:
    """The best of every eighth threshold, from a histogram of magnitudes made anew."""
    counts = np.bincount(np.floor(np.abs(values.astype(np.float64)) / width).astype(int))
    counts[0] = counts[1]
    candidates = [*range(128, len(counts), 8), len(counts)]
    return min(candidates, key=lambda kept: divergence(counts, kept)) * width


@pytest.mark.parametrize("name", [name for name in VALUES if name != "negative"])
def test_entropy_finds_the_threshold_with_the_least_divergence(name: str) -> None:
    values = VALUES[name]
    histogram = histogram_of(values)
    low, high = ALGORITHMS["entropy"](histogram, True)
    width = float(np.diff(histogram.edges())[0])
    threshold = entropy_threshold(values, width)
    assert (low, high) == pytest.approx((max(-threshold, values.min()), min(threshold, values.max())), abs=1.01 * width)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_mse_is_as_good_as_the_best_of_all_ranges(name: str, symmetric: bool) -> None:
    values = VALUES[name]
    shares = np.linspace(0.05, 1, 40)
    lows = [float(values.min()) * share for share in (shares if values.min() < 0 else [1.0])]
    highs = [float(values.max()) * share for share in (shares if values.max() > 0 else [1.0])]
    truth = min(rounding_error(values, low, high, symmetric) for low in lows for high in highs)
    found = rounding_error(values, *ALGORITHMS["mse"](histogram_of(values), symmetric), symmetric)
    assert found <= 1.05 * truth
    assert found <= rounding_error(values, float(values.min()), float(values.max()), symmetric)


@pytest.mark.parametrize("percentile", [99.9, 99.99, 99.999])
@pytest.mark.parametrize("name", VALUES)
def test_a_percentile_leaves_out_half_of_its_rest_at_either_end(name: str, percentile: float) -> None:
    values, histogram = VALUES[name], histogram_of(VALUES[name])
    tail = (100 - percentile) / 200
    expected: Tuple[float, float] = tuple(np.quantile(values, [tail, 1 - tail], method="inverted_cdf").tolist())
    bin_width = float(np.diff(histogram.edges())[0])
    assert ALGORITHMS[f"percentile-{percentile}"](histogram, False) == pytest.approx(expected, abs=1.01 * bin_width)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", [*VALUES, *ODD])
def test_a_range_is_never_wider_than_the_extremes_and_keeps_what_is_not_extreme(
    name: str, algorithm: str, symmetric: bool
) -> None:
    values = VALUES[name] if name in VALUES else np.array(ODD[name], np.float32)
    low, high = ALGORITHMS[algorithm](histogram_of(values), symmetric)
    assert values.min() <= low
    assert high <= values.max()
    assert max(-low, high) >= float(np.quantile(np.abs(values), 0.9)) * 0.999


def test_hundreds_of_tensors_take_seconds() -> None:
    histogram = histogram_of(VALUES["long tails"])
    started = time.perf_counter()
    for algorithm in ALGORITHMS.values():
        for _ in range(10):
            algorithm(histogram, False)
    assert (time.perf_counter() - started) / 10 < 0.2  # some milliseconds were measured
