"""Activation ranges: bounded histograms that lose nothing but resolution, filled one frame at a time."""

from __future__ import annotations

import resource
import sys
import weakref
from typing import Iterator, List

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from converter.int8.histogram import Histogram
from converter.int8.ranges import Ranges, collect_ranges
from sightd.errors import CalibrationError
from tests.parts.models import HEIGHT, WIDTH, Net

RANDOM = np.random.default_rng(3)


def histogram_of(*parts: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def growing_parts() -> List[NDArray[np.float32]]:
    """Values whose range grows by orders of magnitude, to both sides and off zero."""
    scales = [(0.0, 1e-3), (0.002, 1e-3), (-0.5, 0.1), (3.0, 1.0), (-700.0, 20.0), (0.0, 5e3)]
    return [RANDOM.normal(middle, spread, (2, 3, 50)).astype(np.float32) for middle, spread in scales]


def frames(count: int) -> Iterator[NDArray[np.float32]]:
    return (RANDOM.normal(0, 50, (1, 3, HEIGHT, WIDTH)).astype(np.float32) for _ in range(count))


def two_layers() -> onnx.ModelProto:
    net = Net("N")
    return net.model([net.conv(net.backbone("input"), 8, 4)])


@pytest.mark.parametrize("upside_down", [False, True])
def test_merged_bins_hold_exactly_what_one_histogram_of_all_values_would(upside_down: bool) -> None:
    parts = growing_parts()
    histogram = histogram_of(*(reversed(parts) if upside_down else parts))
    values = np.concatenate([part.ravel() for part in parts]).astype(np.float64)
    expected, _ = np.histogram(values, histogram.edges())
    assert histogram.counts.tolist() == expected.tolist()
    assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_bins_are_as_narrow_as_the_range_allows() -> None:
    histogram = histogram_of(*growing_parts())
    used = np.flatnonzero(histogram.counts)
    assert used[0] == 0
    assert used[-1] >= len(histogram.counts) // 2 - 1


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1000.0001, 1e-30, 3e38, -3e38])
def test_a_constant_tensor_has_its_value_as_range(value: float) -> None:
    number = np.full((1, 7), value, np.float32)
    histogram = histogram_of(number, number)
    assert histogram.low == histogram.high == float(number[0, 0])
    assert histogram.counts.sum() == 14
    (used,) = np.flatnonzero(histogram.counts)
    assert histogram.edges()[used] <= histogram.low <= histogram.edges()[used + 1]


def test_all_of_float32_fits() -> None:
    histogram = histogram_of(np.array([-3.4e38, 1e-38, 3.4e38], np.float32))
    assert histogram.counts.sum() == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        histogram_of(np.array([1.0, bad], np.float32))


def test_a_percentile_leaves_out_half_of_its_rest_at_either_end() -> None:
    values = RANDOM.standard_t(2, 200_000).astype(np.float32)
    ranges = Ranges({"t": histogram_of(*np.array_split(values, 7))}, 7)
    edges = ranges.histograms["t"].edges()
    low, high = ranges.bounds("t", "percentile-99.99")
    assert low == pytest.approx(np.quantile(values, 0.00005), abs=edges[1] - edges[0])
    assert high == pytest.approx(np.quantile(values, 0.99995), abs=edges[1] - edges[0])
    assert ranges.bounds("t", "minmax") == (values.min(), values.max())


def test_a_percentile_is_never_wider_than_the_extremes() -> None:
    ranges = Ranges({"t": histogram_of(np.array([0.3, 0.7], np.float32))}, 1)
    assert ranges.bounds("t", "percentile-99.99") == ranges.bounds("t", "minmax")


def test_ranges_are_those_of_the_tensors_in_the_float_model() -> None:
    model = two_layers()
    conv, relu = model.graph.node[1].output[0], model.graph.node[2].output[0]
    inputs = list(frames(3))
    steps: List[int] = []
    ranges = collect_ranges(model, [conv, relu], inputs, on_frame=steps.append)
    weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    kernel, bias = (weights[name] for name in model.graph.node[1].input[1:])
    patches = np.stack(inputs).reshape(3, 3, HEIGHT // 8, 8, WIDTH // 8, 8) / 64
    truth = np.einsum("nchiwj,ocij->nohw", patches, kernel, optimize=True) + bias[:, None, None]
    assert ranges.bounds(conv, "minmax") == pytest.approx((truth.min(), truth.max()), rel=1e-4)
    assert ranges.bounds(relu, "minmax") == pytest.approx((0.0, truth.max()), rel=1e-4)
    assert ranges.histograms[conv].counts.sum() == truth.size
    assert (ranges.frames, steps) == (3, [1, 2, 3])
    largest = np.stack([np.abs(truth).max(axis=(1, 2, 3)), truth.max(axis=(1, 2, 3))], axis=1)
    assert ranges.maxima == pytest.approx(largest, rel=1e-4)
    assert ranges.maxima.dtype == np.float32


def test_one_frame_at_a_time_is_held() -> None:
    alive: List[weakref.ref[NDArray[np.float32]]] = []

    def watched() -> Iterator[NDArray[np.float32]]:
        for frame in frames(6):
            assert sum(seen() is not None for seen in alive) <= 1
            copy = frame.copy()
            alive.append(weakref.ref(copy))
            del frame
            yield copy
            del copy

    model = two_layers()
    assert collect_ranges(model, [model.graph.node[2].output[0]], watched()).frames == 6


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    net = Net("N")
    wide = net.add("Relu", net.conv("input", 3, 16))  # 1.5 MiB a frame
    model = net.model([net.conv(wide, 16, 4, stride=8)])
    few = collect_ranges(model, [wide], frames(4))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = collect_ranges(model, [wide], frames(64))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 30 * 1024  # all of them would be 96 MiB
    assert many.histograms[wide].counts.nbytes == few.histograms[wide].counts.nbytes


def test_a_tensor_that_becomes_nan_is_named() -> None:
    net = Net("N")
    broken = net.add("Log", net.conv("input", 3, 4, stride=8), output="logarithm")
    with pytest.raises(CalibrationError, match=r"'logarithm' has NaN or infinity in calibration frame 0"):
        collect_ranges(net.model([broken]), ["logarithm"], frames(2))


def test_no_frames_are_an_error() -> None:
    model = two_layers()
    with pytest.raises(CalibrationError, match="capture"):
        collect_ranges(model, [model.graph.node[2].output[0]], [])


def test_a_tensor_that_was_never_anything_but_zero_is_reported() -> None:
    net = Net("N")
    dead = net.add("Relu", net.add("Neg", net.add("Relu", "input")), output="dead")
    live = net.add("Relu", "input", output="live")
    ranges = collect_ranges(net.model([dead, live]), ["dead", "live"], frames(2))
    assert ranges.silent() == ["dead"]


def test_maxima_are_of_each_frame_alone() -> None:
    net = Net("N")
    model = net.model([net.add("Neg", "input", output="negated")])
    inputs = [np.full((1, 3, HEIGHT, WIDTH), value, np.float32) for value in (2.0, -7.0, 0.0)]
    assert collect_ranges(model, ["negated"], inputs).maxima.tolist() == [[2.0], [7.0], [0.0]]


def test_bounds_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = Ranges({"t": histogram_of(RANDOM.normal(0, 1, 100).astype(np.float32))}, 1)
    first = [ranges.bounds("t", "mse", symmetric) for symmetric in (False, True)]
    monkeypatch.setattr("converter.int8.ranges.ALGORITHMS", {})
    assert [ranges.bounds("t", "mse", symmetric) for symmetric in (False, True)] == first


def test_a_tensor_that_was_not_watched_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="'other'"):
        Ranges({"t": histogram_of(np.ones(3, np.float32))}, 1).bounds("other", "minmax")
