"""Tiny detectors of the YOLO family with random weights, node by node as the family's exporters write them.

In every one the tensors box8, cls8, box16 ... [B, channels, rows, columns], or map8, map16 ... where one layer predicts
both, are the predictions before any decoding.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from tests.parts.models import HEIGHT, WIDTH, Batch, Net

__all__ = [
    "ANCHOR_BOXES",
    "OBJECTS",
    "YOLO_VARIANTS",
    "best_class_rows",
    "decoded_yolov8",
    "end_to_end",
    "make_yolo",
    "yolov5",
    "yolov5_raw",
    "yolov6",
    "yolov8",
    "yolov8_raw",
]

STRIDES = (8, 16, 32)
#: Rows of an end-to-end model.
OBJECTS = 40
#: For each stride; those that YOLOv5 published.
ANCHOR_BOXES: Mapping[int, Sequence[Tuple[int, int]]] = {
    8: [(10, 13), (16, 30), (33, 23)],
    16: [(30, 61), (62, 45), (59, 119)],
    32: [(116, 90), (156, 198), (373, 326)],
}
Metadata = Optional[Mapping[str, str]]


def yolov8(
    batch: Batch = 1,
    *,
    classes: int = 3,
    strides: Sequence[int] = STRIDES,
    reg_max: int = 16,
    channels_last: bool = False,
    with_maps: bool = False,
    metadata: Metadata = None,
) -> onnx.ModelProto:
    """[B, 4 + C, A] as Ultralytics' Detect writes it; *reg_max* 1 as in YOLO26, whose sides have no distribution."""
    net = Net(batch, name="images")
    maps = _maps(net, classes, strides, reg_max)
    rows = decoded_yolov8(net, maps, classes=classes, strides=strides, reg_max=reg_max)
    if channels_last:
        rows = net.add("Transpose", rows, perm=[0, 2, 1])
    return net.model([rows, *(maps if with_maps else [])], metadata)


def decoded_yolov8(
    net: Net, maps: Sequence[str], *, classes: int, strides: Sequence[int] = STRIDES, reg_max: int = 16
) -> str:
    """Detect's decoding of its *maps* [B, 4 * reg_max + C, rows, columns]."""
    box, scores = _flattened(net, maps, classes, reg_max)
    return net.add("Concat", _centred(net, box, strides, reg_max), net.add("Sigmoid", scores), axis=1)


def yolov6(batch: Batch = 1, *, classes: int = 3) -> onnx.ModelProto:
    """[B, A, 5 + C] with ones for objectness, as YOLOv6 writes it; its small models have no distribution."""
    net = Net(batch, name="images")
    box, scores = _flattened(net, _maps(net, classes, STRIDES, 1), classes, 1)
    rows = [net.add("Transpose", part, perm=[0, 2, 1]) for part in (_centred(net, box, STRIDES, 1), scores)]
    size = net.add("Gather", net.add("Shape", rows[0]), net.constant([0]), axis=0)
    size = net.add("Concat", size, net.constant([anchors(STRIDES).shape[1], 1]), axis=0)
    ones = net.add("ConstantOfShape", size, value=numpy_helper.from_array(np.ones(1, np.float32)))
    return net.model([net.add("Concat", rows[0], ones, net.add("Sigmoid", rows[1]), axis=2)])


def best_class_rows(batch: Batch = 1, *, classes: int = 3) -> onnx.ModelProto:
    """[B, A, 6] of every anchor as DeepStream wants it: corners by a product with a matrix, the best class."""
    net = Net(batch, name="images")
    box, scores = _flattened(net, _maps(net, classes, STRIDES, 16), classes, 16)
    rows = net.add("Concat", _centred(net, box, STRIDES, 16), net.add("Sigmoid", scores), axis=1)
    boxes, scores = _split(net, net.add("Transpose", rows, perm=[0, 2, 1]), [4, classes], 2)
    matrix = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
    labels = net.add("Cast", net.add("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
    best = net.add("ReduceMax", scores, axes=[2], keepdims=1)
    return net.model([net.add("Concat", net.add("MatMul", boxes, net.constant(matrix)), best, labels, axis=2)])


def yolov8_raw(
    batch: Batch = 1,
    *,
    classes: int = 3,
    reg_max: int = 16,
    apart: bool = False,
    sigmoid: bool = False,
    sums: bool = False,
) -> onnx.ModelProto:
    """The maps alone, box and classes joined or *apart*; with the *sums* of scores that Rockchip's exports have."""
    net = Net(batch, name="images")
    maps = _maps(net, classes, STRIDES, reg_max)
    if not apart:
        return net.model(maps)
    outputs = []
    for stride in STRIDES:
        scores = net.add("Sigmoid", f"cls{stride}") if sigmoid else f"cls{stride}"
        total = [net.add("ReduceMax", scores, axes=[1], keepdims=1)] if sums else []
        outputs += [f"box{stride}", scores, *total]
    return net.model(outputs)


def end_to_end(batch: Batch = 1, *, classes: int = 3, metadata: Metadata = None) -> onnx.ModelProto:
    """[B, OBJECTS, 6] by the selection of YOLOv10: the best anchors, of these the best pairs of anchor and class."""
    net = Net(batch, name="images")
    box, scores = _flattened(net, _maps(net, classes, STRIDES, 16), classes, 16)
    points, stride = net.constant(anchors(STRIDES)[:2]), net.constant(anchors(STRIDES)[2])
    boxes = net.add("Mul", net.add("Concat", *_corners(net, _sides(net, box, 16), points), axis=1), stride)
    rows = net.add("Transpose", net.add("Concat", boxes, net.add("Sigmoid", scores), axis=1), perm=[0, 2, 1])
    boxes, scores = _split(net, rows, [4, classes], 2)
    count, last = net.constant([OBJECTS]), net.constant([-1])
    _, best = _top(net, net.add("ReduceMax", scores, axes=[2], keepdims=0), count)
    index = net.add("Unsqueeze", best, last)
    boxes = net.add("GatherElements", boxes, net.add("Tile", index, net.constant([1, 1, 4])), axis=1)
    scores = net.add("GatherElements", scores, net.add("Tile", index, net.constant([1, 1, classes])), axis=1)
    scores, pairs = _top(net, net.add("Flatten", scores), count)
    row = net.add("Unsqueeze", net.add("Div", pairs, net.constant([classes])), last)
    boxes = net.add("GatherElements", boxes, net.add("Tile", row, net.constant([1, 1, 4])), axis=1)
    labels = net.add("Cast", net.add("Mod", pairs, net.constant([classes])), to=TensorProto.FLOAT)
    columns = [net.add("Unsqueeze", column, last) for column in (scores, labels)]
    return net.model([net.add("Concat", boxes, *columns, axis=2)], metadata)


def yolov5(
    batch: Batch = 1, *, classes: int = 3, with_maps: bool = False, metadata: Metadata = None
) -> onnx.ModelProto:
    """[B, A, 5 + C] as YOLOv5's Detect writes it; *with_maps* as its older exports did."""
    net = Net(batch, name="images")
    rows, maps = [], []
    for stride, level in zip(STRIDES, _levels(net, STRIDES)):
        plane = _by_anchor(net, _map(net, level, classes, stride), classes, stride)
        maps.append(plane)
        xy, wh, scores = _split(net, net.add("Sigmoid", plane), [2, 2, 1 + classes], 4)
        two, half = (net.constant(np.array(value, np.float32)) for value in (2, 0.5))
        y, x = np.mgrid[: HEIGHT // stride, : WIDTH // stride]
        grid = net.constant(np.stack([x, y], axis=-1).astype(np.float32))
        xy = net.add("Add", net.add("Sub", net.add("Mul", xy, two), half), grid)
        xy = net.add("Mul", xy, net.constant(np.array(stride, np.float32)))
        sizes = net.constant(np.array(ANCHOR_BOXES[stride], np.float32).reshape(1, 3, 1, 1, 2))
        wh = net.add("Mul", net.add("Pow", net.add("Mul", wh, two), two), sizes)
        joined = net.add("Concat", xy, wh, scores, axis=4)
        rows.append(net.add("Reshape", joined, net.constant([0, -1, 5 + classes])))
    return net.model([net.add("Concat", *rows, axis=1), *(maps if with_maps else [])], metadata)


def yolov5_raw(batch: Batch = 1, *, classes: int = 3, by_anchor: bool = True, sigmoid: bool = False) -> onnx.ModelProto:
    """[B, 3, rows, columns, 5 + C] for each stride, or [B, 3 * (5 + C), rows, columns], coarsest first."""
    net = Net(batch, name="images")
    outputs = []
    for stride, level in zip(STRIDES, _levels(net, STRIDES)):
        plane = _map(net, level, classes, stride)
        plane = _by_anchor(net, plane, classes, stride) if by_anchor else plane
        outputs.append(net.add("Sigmoid", plane) if sigmoid else plane)
    return net.model(outputs[::-1])


def anchors(strides: Sequence[int]) -> NDArray[np.float32]:
    """[3, A]: x and y of every cell's centre in cells, and its stride."""
    places = [
        (x + 0.5, y + 0.5, stride)
        for stride in strides
        for y in range(HEIGHT // stride)
        for x in range(WIDTH // stride)
    ]
    return np.array(places, np.float32).T


_VARIANTS: Dict[str, Callable[[Batch], onnx.ModelProto]] = {
    "yolov8": yolov8,
    "yolov8 channels last": lambda batch: yolov8(batch, channels_last=True),
    "yolov8 p6": lambda batch: yolov8(batch, strides=(8, 16, 32, 64)),
    "yolov8 p2": lambda batch: yolov8(batch, strides=(4, 8, 16, 32)),
    "yolov8 with maps": lambda batch: yolov8(batch, with_maps=True),
    "yolov8 no distribution": lambda batch: yolov8(batch, reg_max=1),
    "yolov8 no distribution, channels last": lambda batch: yolov8(batch, reg_max=1, channels_last=True),
    "yolov8-raw": yolov8_raw,
    "yolov8-raw apart": lambda batch: yolov8_raw(batch, apart=True),
    "yolov8-raw apart with sums": lambda batch: yolov8_raw(batch, apart=True, sigmoid=True, sums=True),
    "yolov8 of two grids": lambda batch: yolov8(batch, strides=(16, 32)),
    "yolov6": yolov6,
    "yolov5": yolov5,
    "yolov5 with maps": lambda batch: yolov5(batch, with_maps=True),
    "yolov5-raw": yolov5_raw,
    "yolov5-raw by channel": lambda batch: yolov5_raw(batch, by_anchor=False),
    "yolov5-raw behind sigmoid": lambda batch: yolov5_raw(batch, by_anchor=False, sigmoid=True),
    "end-to-end": end_to_end,
    "end-to-end of every anchor": best_class_rows,
}
#: Every layout; the first word is the family that has to be recognised.
YOLO_VARIANTS = tuple(_VARIANTS)


def make_yolo(variant: str, batch: Batch = 1) -> onnx.ModelProto:
    """The model of one of YOLO_VARIANTS, of 3 classes."""
    return _VARIANTS[variant](batch)


def _maps(net: Net, classes: int, strides: Sequence[int], reg_max: int) -> List[str]:
    """For each of *strides* box and classes joined, [B, 4 * reg_max + C, rows, columns]."""
    maps = []
    for stride, level in zip(strides, _levels(net, strides)):
        box = _conv(net, level, 4 * reg_max, f"box{stride}")
        maps.append(net.add("Concat", box, _conv(net, level, classes, f"cls{stride}"), axis=1))
    return maps


def _flattened(net: Net, maps: Sequence[str], classes: int, reg_max: int) -> Tuple[str, str]:
    """Of all anchors the bins [B, 4 * reg_max, A] and the class logits [B, C, A]."""
    flat = [net.add("Reshape", plane, net.constant([0, 4 * reg_max + classes, -1])) for plane in maps]
    box, scores = _split(net, net.add("Concat", *flat, axis=2), [4 * reg_max, classes], 1)
    return box, scores


def _levels(net: Net, strides: Sequence[int]) -> List[str]:
    """[B, 8, rows, columns] for each of *strides*."""
    features = net.backbone("images")
    levels = []
    for stride in strides:
        if stride < 8:
            wide = net.constant(net.random.normal(0, 0.3, (8, 8, 2, 2)).astype(np.float32))
            levels.append(net.add("Relu", net.add("ConvTranspose", features, wide, strides=[2, 2])))
        else:
            levels.append(net.add("Relu", net.conv(features, 8, 8, stride=stride // 8)))
    return levels


def _sides(net: Net, box: str, reg_max: int) -> str:
    """[B, 4, A] distances in cells from the bins [B, 4 * reg_max, A], by a softmax and a fixed convolution."""
    if reg_max == 1:
        return box
    bins = net.add("Transpose", net.add("Reshape", box, net.constant([0, 4, reg_max, -1])), perm=[0, 2, 1, 3])
    mean = net.constant(np.arange(reg_max, dtype=np.float32).reshape(1, reg_max, 1, 1))
    return net.add("Reshape", net.add("Conv", net.add("Softmax", bins, axis=1), mean), net.constant([0, 4, -1]))


def _centred(net: Net, box: str, strides: Sequence[int], reg_max: int) -> str:
    """[B, 4, A], centre and size in input pixels."""
    points, stride = net.constant(anchors(strides)[:2]), net.constant(anchors(strides)[2])
    first, second = _corners(net, _sides(net, box, reg_max), points)
    centre = net.add("Div", net.add("Add", first, second), net.constant(np.array(2, np.float32)))
    return net.add("Mul", net.add("Concat", centre, net.add("Sub", second, first), axis=1), stride)


def _corners(net: Net, distances: str, points: str) -> Tuple[str, str]:
    left_top, right_bottom = _split(net, distances, [2, 2], 1)
    return net.add("Sub", points, left_top), net.add("Add", points, right_bottom)


def _map(net: Net, level: str, classes: int, stride: int) -> str:
    return _conv(net, level, 3 * (5 + classes), f"map{stride}")


def _by_anchor(net: Net, plane: str, classes: int, stride: int) -> str:
    """[B, 3, rows, columns, 5 + C]."""
    shape = net.constant([0, 3, 5 + classes, HEIGHT // stride, WIDTH // stride])
    return net.add("Transpose", net.add("Reshape", plane, shape), perm=[0, 1, 3, 4, 2])


def _conv(net: Net, tensor: str, channels: int, name: str) -> str:
    weight = net.random.normal(0, 0.5, (channels, 8, 1, 1)).astype(np.float32)
    bias = net.random.normal(0, 0.5, channels).astype(np.float32)
    return net.add("Conv", tensor, net.constant(weight), net.constant(bias), output=name, kernel_shape=[1, 1])


def _split(net: Net, tensor: str, sizes: Sequence[int], axis: int) -> List[str]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        net.add("Slice", tensor, net.constant([start]), net.constant([stop]), net.constant([axis]))
        for start, stop in zip(ends, ends[1:])
    ]


def _top(net: Net, tensor: str, count: str, **attributes: Any) -> Tuple[str, str]:
    """The greatest values and their places; Net.add() makes nodes of one output only."""
    values = net.add("TopK", tensor, count, axis=1)
    places = f"{values}_places"
    net.nodes[-1].output.append(places)
    return values, places
