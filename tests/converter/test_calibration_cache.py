"""Ranges for TensorRT's own INT8: the text that its calibrators write and read."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from converter.int8.calibration_cache import calibration_cache, dynamic_ranges
from converter.int8.histogram import Histogram
from converter.int8.ranges import Ranges


def ranges_of(**tensors: float) -> Ranges:
    histograms = {}
    for name, extreme in tensors.items():
        histograms[name] = Histogram()
        histograms[name].add(np.array([0.0, extreme], np.float32))
    return Ranges(histograms, 1)


def test_a_dynamic_range_is_the_larger_magnitude() -> None:
    found = dynamic_ranges(ranges_of(up=6.0, down=-2.5), "minmax")
    assert found == pytest.approx({"up": 6.0, "down": 2.5}, rel=1e-6)


def test_the_cache_has_a_header_and_each_tensors_scale_in_big_endian_hexadecimal() -> None:
    text = calibration_cache(ranges_of(images=127.0, **{"layer/out:0": 254.0}), "minmax", 8502)
    assert text.splitlines() == ["TRT-8502-EntropyCalibration2", "images: 3f800000", "layer/out:0: 40000000"]
    assert text.endswith("\n")


def test_the_scale_in_the_cache_is_that_of_the_dynamic_range() -> None:
    ranges = ranges_of(odd=0.1234567)
    line = calibration_cache(ranges, "minmax", 100300).splitlines()[1]
    (scale,) = struct.unpack(">f", bytes.fromhex(line.rpartition(": ")[2]))
    assert scale * 127 == pytest.approx(dynamic_ranges(ranges, "minmax")["odd"], rel=1e-6)


def test_a_tensor_that_was_always_zero_has_a_usable_scale() -> None:
    assert dynamic_ranges(ranges_of(dead=0.0), "minmax")["dead"] > 0
