"""A conventional detector's body, YOLOv8n's: 3 × 3 convolutions with SiLU and random weights."""

from __future__ import annotations

from typing import List

import numpy as np
import onnx
from onnx import TensorProto, helper

from .models import Net

__all__ = ["conv_silu"]

#: What keeps the spread of a SiLU's results from one layer to the next.
_GAIN = 1.68


def conv_silu(size: int = 640, width: int = 16) -> onnx.ModelProto:
    """Input "images" [N, 3, *size*, *size*], three levels of 64 + 80 planes; *width* is the stem's channels."""
    net = Net("N", opset=13, name="images")
    net.input = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, size, size])
    w = width
    tensor = _layer(net, _layer(net, "images", 3, w, 3, 2), w, 2 * w, 3, 2)
    tensor = _c2f(net, tensor, 2 * w, 2 * w, 1, residual=True)
    third = _c2f(net, _layer(net, tensor, 2 * w, 4 * w, 3, 2), 4 * w, 4 * w, 2, residual=True)
    fourth = _c2f(net, _layer(net, third, 4 * w, 8 * w, 3, 2), 8 * w, 8 * w, 2, residual=True)
    fifth = _c2f(net, _layer(net, fourth, 8 * w, 16 * w, 3, 2), 16 * w, 16 * w, 1, residual=True)
    fifth = _pyramid_pool(net, fifth, 16 * w)
    middle = _c2f(net, _concat(net, _doubled(net, fifth), fourth), 24 * w, 8 * w, 1)
    fine = _c2f(net, _concat(net, _doubled(net, middle), third), 12 * w, 4 * w, 1)
    middle = _c2f(net, _concat(net, _layer(net, fine, 4 * w, 4 * w, 3, 2), middle), 12 * w, 8 * w, 1)
    coarse = _c2f(net, _concat(net, _layer(net, middle, 8 * w, 8 * w, 3, 2), fifth), 24 * w, 16 * w, 1)
    levels = ((fine, 4 * w), (middle, 8 * w), (coarse, 16 * w))
    return net.model([_predicted(net, tensor, channels, 4 * w) for tensor, channels in levels])


def _layer(net: Net, tensor: str, channels_in: int, channels: int, kernel: int = 1, stride: int = 1) -> str:
    made = _conv(net, tensor, channels_in, channels, kernel, stride)
    return net.add("Mul", made, net.add("Sigmoid", made))


def _conv(net: Net, tensor: str, channels_in: int, channels: int, kernel: int = 1, stride: int = 1) -> str:
    shape = (channels, channels_in, kernel, kernel)
    weights = net.random.normal(0, _GAIN / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
    bias = net.random.normal(0, 0.1, channels).astype(np.float32)
    inputs = tensor, net.constant(weights), net.constant(bias)
    pads = [kernel // 2] * 4
    return net.add("Conv", *inputs, kernel_shape=[kernel, kernel], pads=pads, strides=[stride, stride])


def _c2f(net: Net, tensor: str, channels_in: int, channels: int, repeats: int, *, residual: bool = False) -> str:
    """Cross-stage partial block with two convolutions, faster: half of the channels passes by each bottleneck."""
    half = channels // 2
    joined = _layer(net, tensor, channels_in, channels)
    parts: List[str] = [_sliced(net, joined, 0, half), _sliced(net, joined, half, channels)]
    for _ in range(repeats):
        made = _layer(net, _layer(net, parts[-1], half, half, 3), half, half, 3)
        parts.append(net.add("Add", parts[-1], made) if residual else made)
    return _layer(net, _concat(net, *parts), half * len(parts), channels)


def _pyramid_pool(net: Net, tensor: str, channels: int) -> str:
    half = channels // 2
    parts = [_layer(net, tensor, channels, half)]
    for _ in range(3):
        parts.append(net.add("MaxPool", parts[-1], kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]))
    return _layer(net, _concat(net, *parts), 2 * channels, channels)


def _predicted(net: Net, tensor: str, channels: int, boxes: int) -> str:
    sides = _layer(net, _layer(net, tensor, channels, boxes, 3), boxes, boxes, 3)
    classes = _layer(net, _layer(net, tensor, channels, 80, 3), 80, 80, 3)
    return _concat(net, _conv(net, sides, boxes, 64), _conv(net, classes, 80, 80))


def _sliced(net: Net, tensor: str, start: int, stop: int) -> str:
    return net.add("Slice", tensor, *(net.constant([value]) for value in (start, stop, 1)))


def _doubled(net: Net, tensor: str) -> str:
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    return net.add(
        "Resize", tensor, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )


def _concat(net: Net, *tensors: str) -> str:
    return net.add("Concat", *tensors, axis=1)
