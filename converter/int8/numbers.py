"""The numbers of INT8: scales, zero points and quantised constants, as a target wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from .targets import Target

__all__ = ["Affine", "activation", "bias", "constant", "weights"]

_TINY = 1e-10  # a tensor that is always 0 needs a scale too


@dataclass(frozen=True)
class Affine:
    """real = (quantised - zero_point) * scale; scalars, or one of each a channel."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.integer]


def activation(low: float, high: float, target: Target) -> Affine:
    """One scale and zero point for values in low..high; 0 is always exact, for padding and ReLU."""
    kind = np.uint8 if target.activations == "u8" else np.int8
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    low, high = min(low, 0.0), max(high, 0.0)
    if target.symmetric:
        scale = max(-low, high, _TINY) / 127
        zero = 128 if kind is np.uint8 else 0
    else:
        scale = max(high - low, _TINY) / 255
        zero = int(np.clip(round(least - low / scale), least, most))
    return Affine(np.array(scale, np.float32), np.array(zero, kind))


def weights(
    values: NDArray[np.float32], axis: int, target: Target, least_scale: NDArray[np.float64]
) -> Tuple[NDArray[np.int8], Affine]:
    """Symmetric INT8 weights, per output channel (*axis*) where the target has that.

    :param least_scale: scales that are not to be undercut (see :func:`bias`), one or one a channel.
    """
    largest = 63 if target.reduce_range else 127
    others = tuple(index for index in range(values.ndim) if index != axis)
    peak = np.abs(values).max(axis=others) if target.per_channel else np.abs(values).max()
    scale = np.maximum(np.maximum(peak / largest, least_scale), _TINY).astype(np.float32)
    shape = [-1 if index == axis else 1 for index in range(values.ndim)] if target.per_channel else [1] * values.ndim
    quantised = np.clip(np.rint(values / scale.reshape(shape)), -largest, largest).astype(np.int8)
    return quantised, Affine(scale, np.zeros(scale.shape, np.int8))


def bias(values: NDArray[np.float32], scale: NDArray[np.float64]) -> Tuple[NDArray[np.int32], Affine]:
    """INT32 biases at the product of the input's and the weights' scale, which is what the layer sums up in."""
    quantised = np.clip(np.rint(values / scale), -(2**31), 2**31 - 1).astype(np.int32)
    return quantised, Affine(scale.astype(np.float32), np.zeros(scale.shape, np.int32))


def constant(values: NDArray[np.float32], target: Target) -> Tuple[NDArray[np.integer], Affine]:
    """A constant operand of Add, Mul or Concat, as an activation of its own range."""
    affine = activation(float(values.min()), float(values.max()), target)
    info = np.iinfo(affine.zero_point.dtype)
    quantised = np.clip(np.rint(values / affine.scale) + affine.zero_point, info.min, info.max)
    return quantised.astype(affine.zero_point.dtype), affine
