"""Ranges as TensorRT up to 10 takes them without Q/DQ: dynamic ranges by tensor, or the text of a calibration cache."""

from __future__ import annotations

import struct
from typing import Dict

from .numbers import activation
from .ranges import Ranges
from .targets import TENSORRT

__all__ = ["calibration_cache", "dynamic_ranges"]


def dynamic_ranges(ranges: Ranges, algorithm: str) -> Dict[str, float]:
    """Tensor -> the magnitude that INT8's 127 stands for, as ITensor.set_dynamic_range(-r, r) wants it."""
    return {tensor: scale * 127 for tensor, scale in _scales(ranges, algorithm).items()}


def calibration_cache(ranges: Ranges, algorithm: str, tensorrt_version: int) -> str:
    """What IInt8EntropyCalibrator2.read_calibration_cache returns, so that TensorRT does not calibrate itself.

    A line a tensor: its name and the scale, a float32, in big-endian hexadecimal.

    :param tensorrt_version: as in the caches of that TensorRT itself: 8502 for 8.5.2, 100300 for 10.3.0.
    """
    lines = [f"TRT-{tensorrt_version}-EntropyCalibration2"]
    for tensor, scale in _scales(ranges, algorithm).items():
        lines.append(f"{tensor}: {struct.pack('>f', scale).hex()}")
    return "\n".join(lines) + "\n"


def _scales(ranges: Ranges, algorithm: str) -> Dict[str, float]:
    return {
        tensor: float(activation(*ranges.bounds(tensor, algorithm, symmetric=True), TENSORRT).scale)
        for tensor in ranges.histograms
    }
