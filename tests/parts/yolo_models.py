"""Tiny detectors of the YOLO family with random weights, node by node as the family's exporters write them."""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence

import numpy as np
import onnx

from tests.parts.models import HEIGHT, WIDTH, Batch, Net

__all__ = ["YOLO_VARIANTS", "make_yolo", "yolov8"]

STRIDES = (8, 16, 32)
REG_MAX = 16


def yolov8(
    batch: Batch = 1,
    *,
    classes: int = 3,
    strides: Sequence[int] = STRIDES,
    reg_max: int = REG_MAX,
    channels_last: bool = False,
    with_maps: bool = False,
    metadata: Optional[Mapping[str, str]] = None,
) -> onnx.ModelProto:
    """[B, 4 + C, A] as Ultralytics' Detect writes it; *reg_max* 1 as in YOLO26, whose sides have no distribution.

    The tensors map8, map16 ... [B, 4 * reg_max + C, rows, columns] are what it is computed of.
    """
    net = Net(batch, name="images")
    maps = [
        net.add("Concat", net.conv(level, 8, 4 * reg_max), net.conv(level, 8, classes), output=f"map{stride}", axis=1)
        for level, stride in zip(levels(net, strides), strides)
    ]
    flat = [net.add("Reshape", plane, net.constant([0, 4 * reg_max + classes, -1])) for plane in maps]
    box, scores = split(net, net.add("Concat", *flat, axis=2), [4 * reg_max, classes], 1)
    boxes = net.add("Mul", centre_and_size(net, sides(net, box, reg_max), strides), net.constant(anchors(strides)[2]))
    rows = net.add("Concat", boxes, net.add("Sigmoid", scores), axis=1)
    if channels_last:
        rows = net.add("Transpose", rows, perm=[0, 2, 1])
    return net.model([rows, *(maps if with_maps else [])], metadata)


def levels(net: Net, strides: Sequence[int]) -> List[str]:
    """[B, 8, rows, columns] for each of *strides*."""
    features = net.backbone("images")
    return [net.add("Relu", net.conv(features, 8, 8, stride=stride // 8)) for stride in strides]


def sides(net: Net, box: str, reg_max: int) -> str:
    """[B, 4, A] distances in cells from the bins [B, 4 * reg_max, A], by a softmax and a fixed convolution."""
    if reg_max == 1:
        return box
    bins = net.add("Transpose", net.add("Reshape", box, net.constant([0, 4, reg_max, -1])), perm=[0, 2, 1, 3])
    mean = net.constant(np.arange(reg_max, dtype=np.float32).reshape(1, reg_max, 1, 1))
    return net.add("Reshape", net.add("Conv", net.add("Softmax", bins, axis=1), mean), net.constant([0, 4, -1]))


def centre_and_size(net: Net, distances: str, strides: Sequence[int]) -> str:
    """dist2bbox: [B, 4, A] in cells."""
    points = net.constant(anchors(strides)[:2])
    left_top, right_bottom = split(net, distances, [2, 2], 1)
    first, second = net.add("Sub", points, left_top), net.add("Add", points, right_bottom)
    centre = net.add("Div", net.add("Add", first, second), net.constant(np.array(2, np.float32)))
    return net.add("Concat", centre, net.add("Sub", second, first), axis=1)


def split(net: Net, tensor: str, sizes: Sequence[int], axis: int) -> List[str]:
    """*tensor* in parts."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        net.add("Slice", tensor, net.constant([start]), net.constant([stop]), net.constant([axis]))
        for start, stop in zip(ends, ends[1:])
    ]


def anchors(strides: Sequence[int]) -> np.ndarray:
    """[3, A]: x and y of every cell's centre in cells, and its stride."""
    places = [
        (x + 0.5, y + 0.5, stride)
        for stride in strides
        for y in range(HEIGHT // stride)
        for x in range(WIDTH // stride)
    ]
    return np.array(places, np.float32).T


#: Every layout, by name: see make_yolo().
YOLO_VARIANTS = ("yolov8", "yolov8-channels-last", "yolov8-p6", "yolov8-with-maps", "yolov8-no-dfl")


def make_yolo(name: str, batch: Batch = 1) -> onnx.ModelProto:
    """The model of one of YOLO_VARIANTS, of 3 classes."""
    return {
        "yolov8": lambda: yolov8(batch),
        "yolov8-channels-last": lambda: yolov8(batch, channels_last=True),
        "yolov8-p6": lambda: yolov8(batch, strides=(8, 16, 32, 64)),
        "yolov8-with-maps": lambda: yolov8(batch, with_maps=True),
        "yolov8-no-dfl": lambda: yolov8(batch, reg_max=1),
    }[name]()
