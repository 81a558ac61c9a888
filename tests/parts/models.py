"""Tiny detectors, generated: the supported layouts and their traps, as exporters write them.

Each is a real small convolutional net with random weights, wider than high so that swapped axes show.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Union

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = [
    "HEIGHT",
    "VARIANTS",
    "WIDTH",
    "Net",
    "boxes_scores",
    "centernet",
    "centernet_distances",
    "classifier",
    "fastestdet",
    "make_variant",
    "yolox",
]

WIDTH, HEIGHT = 192, 128

Batch = Union[int, str]


class Net:
    """A graph under construction; tensors are named t0, t1 ... as tracers do."""

    def __init__(self, batch: Batch = 1, *, opset: int = 13, layout: str = "nchw", name: str = "input") -> None:
        self.batch, self.opset = batch, opset
        self.nodes: List[onnx.NodeProto] = []
        self.weights: List[onnx.TensorProto] = []
        shape = [batch, 3, HEIGHT, WIDTH] if layout == "nchw" else [batch, HEIGHT, WIDTH, 3]
        self.input = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        #: Inputs beside the picture.
        self.more_inputs: List[onnx.ValueInfoProto] = []
        self.random = np.random.default_rng(7)

    def add(self, operator: str, *inputs: str, output: Optional[str] = None, **attributes: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, value: Union[Sequence[int], NDArray[np.generic]]) -> str:
        name = f"w{len(self.weights)}"
        array = value if isinstance(value, np.ndarray) else np.array(value, np.int64)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, tensor: str, channels_in: int, channels: int, stride: int = 1) -> str:
        shape = (channels, channels_in, stride, stride)
        weight = self.random.normal(0, 1 / np.sqrt(channels_in) / stride, shape).astype(np.float32)
        bias = self.random.normal(0, 0.3, channels).astype(np.float32)
        inputs = tensor, self.constant(weight), self.constant(bias)
        return self.add("Conv", *inputs, kernel_shape=[stride, stride], strides=[stride, stride])

    def backbone(self, tensor: str) -> str:
        """[B, 8, HEIGHT / 8, WIDTH / 8] from pixels 0..255."""
        scaled = self.add("Mul", tensor, self.constant(np.array(1 / 64, np.float32)))
        return self.add("Relu", self.conv(scaled, 3, 8, stride=8))

    def model(self, outputs: Sequence[str], metadata: Optional[Mapping[str, str]] = None) -> onnx.ModelProto:
        """The model; shapes of the outputs are left to be inferred, element types are given."""
        kinds = [TensorProto.INT64 if name.startswith("int") else TensorProto.FLOAT for name in outputs]
        infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(outputs, kinds)]
        graph = helper.make_graph(self.nodes, "tiny", [self.input, *self.more_inputs], infos, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=7)
        helper.set_model_props(model, dict(metadata or {}))
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        onnx.checker.check_model(model)
        return model


def yolox(
    batch: Batch = 1,
    *,
    classes: int = 3,
    strides: Sequence[int] = (8, 16, 32),
    decoded: bool = False,
    opset: int = 11,
    metadata: Optional[Mapping[str, str]] = None,
) -> onnx.ModelProto:
    """YOLOX's output; traced at a fixed batch, its reshapes hold it."""
    net = Net(batch, opset=opset, name="images")
    features, levels = net.backbone("images"), []
    for stride in strides:
        level = net.conv(features, 8, 8, stride=stride // 8) if stride > 8 else features
        scores = net.add("Sigmoid", net.conv(level, 8, 1 + classes))
        joined = net.add("Concat", net.conv(level, 8, 4), scores, axis=1)
        levels.append(
            net.add("Reshape", joined, net.constant([batch if isinstance(batch, int) else 0, 5 + classes, -1]))
        )
    output = "boxes" if not decoded else None  # a name that the finished graph wants for itself
    rows = net.add("Transpose", net.add("Concat", *levels, axis=2), output=output, perm=[0, 2, 1])
    return net.model([_decoded(net, rows, strides) if decoded else rows], metadata)


def centernet_distances(batch: Batch = 1, *, classes: int = 3, channels_last: bool = True) -> onnx.ModelProto:
    """A heatmap and distances to the box's sides."""
    net = Net(batch, layout="nhwc")
    features = net.backbone(net.add("Transpose", "input", perm=[0, 3, 1, 2]))
    heat, sides = net.add("Sigmoid", net.conv(features, 8, classes)), net.add("Softplus", net.conv(features, 8, 4))
    if channels_last:
        heat, sides = (net.add("Transpose", tensor, perm=[0, 2, 3, 1]) for tensor in (heat, sides))
    return net.model([sides, heat])


def centernet(batch: Batch = 1, *, classes: int = 3, names: Sequence[str] = ("offset", "wh")) -> onnx.ModelProto:
    """Heatmap logits, box size and centre offset; the last two in the order of *names*."""
    net = Net(batch)
    features = net.backbone("input")
    heat = net.conv(features, 8, classes)
    planes = [net.add("Softplus", net.conv(features, 8, 2), output=name) for name in names]
    return net.model([heat, *planes])


def boxes_scores(batch: Batch = 1, *, classes: int = 3, separate_classes: bool = False) -> onnx.ModelProto:
    """Boxes and scores; with *separate_classes* the best score and its class, an integer output."""
    net = Net(batch)
    features = net.backbone("input")
    anchors = (HEIGHT // 8) * (WIDTH // 8)

    def rows(channels: int, activation: str) -> str:
        plane = net.add(activation, net.conv(features, 8, channels))
        return net.add("Transpose", net.add("Reshape", plane, net.constant([-1, channels, anchors])), perm=[0, 2, 1])

    boxes, scores = rows(4, "Softplus"), rows(classes, "Sigmoid")
    if not separate_classes:
        return net.model([scores, boxes])
    best = net.add("ReduceMax", scores, axes=[2], keepdims=0)
    return net.model([net.add("ArgMax", scores, output="int_labels", axis=2, keepdims=0), boxes, best])


def fastestdet(batch: Batch = 1, *, classes: int = 3) -> onnx.ModelProto:
    """Objectness, box and classes of one grid of stride 16; the softmax between two transposes, as it is exported."""
    net = Net(batch, opset=11)
    features = net.conv(net.backbone("input"), 8, 8, stride=2)
    objectness = net.add("Sigmoid", net.conv(features, 8, 1))
    rows = net.add("Transpose", net.conv(features, 8, classes), perm=[0, 3, 2, 1])
    soft = net.add("Transpose", net.add("Softmax", rows, axis=3), perm=[0, 3, 2, 1])
    return net.model([net.add("Concat", objectness, net.conv(features, 8, 4), soft, axis=1)])


def classifier(batch: Batch = 1, *, classes: int = 3, activation: str = "") -> onnx.ModelProto:
    """One output [B, C] behind a global pooling and a Gemm; logits, or what *activation* makes of them."""
    net = Net(batch)
    features = net.conv(net.backbone("input"), 8, 8, stride=2)
    pooled = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", features)))
    weight = net.random.normal(0, 1, (8, classes)).astype(np.float32)
    logits = net.add("Gemm", pooled, net.constant(weight), net.constant(np.zeros(classes, np.float32)))
    return net.model([net.add(activation, logits) if activation else logits])


#: Every layout that a head reads, by name: see make_variant().
VARIANTS = (
    "yolox",
    "yolox-decoded",
    "yolox-p6",
    "centernet-distances",
    "centernet-distances-channels-first",
    "centernet",
    "fastestdet",
    "classifier",
    "classifier-softmax",
    "boxes-scores",
    "boxes-scores-classes",
)


def make_variant(name: str, batch: Batch = 1) -> onnx.ModelProto:  # noqa: PLR0911  (one a family)
    """The model of one of VARIANTS."""
    if name == "yolox-p6":
        return yolox(batch, strides=(8, 16, 32, 64))
    if name.startswith("yolox"):
        return yolox(batch, decoded=name == "yolox-decoded")
    if name.startswith("centernet-distances"):
        return centernet_distances(batch, channels_last=name == "centernet-distances")
    if name == "centernet":
        return centernet(batch)
    if name == "fastestdet":
        return fastestdet(batch)
    if name.startswith("classifier"):
        return classifier(batch, activation="Softmax" if name == "classifier-softmax" else "")
    return boxes_scores(batch, separate_classes=name == "boxes-scores-classes")


def _decoded(net: Net, rows: str, strides: Sequence[int]) -> str:
    """YOLOX's decode_in_inference."""
    cells = [(x, y, s) for s in strides for y in range(HEIGHT // s) for x in range(WIDTH // s)]
    grid = np.array(cells, np.float32)[None]
    parts = [
        net.add("Slice", rows, net.constant([start]), net.constant([stop]), net.constant([2]))
        for start, stop in ((0, 2), (2, 4), (4, 1000))
    ]
    stride = net.constant(grid[:, :, 2:])
    centre = net.add("Mul", net.add("Add", parts[0], net.constant(grid[:, :, :2])), stride)
    size = net.add("Mul", net.add("Exp", parts[1]), stride)
    return net.add("Concat", centre, size, parts[2], axis=2)
