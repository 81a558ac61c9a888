"""Tiny detectors of the families that are no YOLO: outputs as their published exports have them, random weights."""

from __future__ import annotations

from typing import Callable, Dict, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.parts.models import HEIGHT, WIDTH, Batch, Net

__all__ = ["FAMILY_MODELS", "QUERIES", "SSD_GRIDS", "make_family_model", "with_nms"]

QUERIES = 100
CLASSES = 3
#: Columns and rows of six layers from stride 16, each half of the one before, rounded up.
SSD_GRIDS = [(12, 8), (6, 4), (3, 2), (2, 1), (1, 1), (1, 1)]


def named(net: Net, outputs: Sequence[Tuple[str, str]], *others: str) -> onnx.ModelProto:
    """The model whose outputs are tensors under new names (tensor, name), then *others* under their own."""
    renamed = [net.add("Identity", tensor, output=name) for tensor, name in outputs]
    return net.model([*renamed, *others])


def linear(net: Net, tensor: str, channels_in: int, channels: int) -> str:
    """A layer as torch exports nn.Linear on [B, Q, channels]: MatMul and Add."""
    weight = net.random.normal(0, 1 / np.sqrt(channels_in), (channels_in, channels)).astype(np.float32)
    bias = net.random.normal(0, 0.3, channels).astype(np.float32)
    return net.add("Add", net.add("MatMul", tensor, net.constant(weight)), net.constant(bias))


def queries(net: Net) -> str:
    """[B, Q, 8]: the first tokens of the features behind self-attention with learned projections."""
    tokens = net.add("Reshape", net.backbone("input"), net.constant([0, 8, -1]))
    tokens = net.add("Transpose", tokens, perm=[0, 2, 1])
    tokens = net.add("Slice", tokens, net.constant([0]), net.constant([QUERIES]), net.constant([1]))
    tokens = net.add("Add", tokens, net.constant(net.random.normal(0, 1, (1, QUERIES, 8)).astype(np.float32)))
    query, key, value = (linear(net, tokens, 8, 8) for _ in range(3))
    shares = net.add("Softmax", net.add("MatMul", query, net.add("Transpose", key, perm=[0, 2, 1])), axis=2)
    return net.add("Relu", linear(net, net.add("MatMul", shares, value), 8, 8))


def detr_parts(net: Net, classes: int = CLASSES, *, chosen: bool = False) -> Tuple[str, str]:
    """Logits and boxes of the last decoder layer, sigmoid(t + inverse sigmoid of the reference), as RT-DETR.

    :param chosen: the references are those of the best tokens, as in RT-DETR, and not learned.
    """
    tokens = queries(net)
    reference = net.constant(net.random.normal(0, 1, (1, QUERIES, 4)).astype(np.float32))
    if chosen:
        best = net.add("ReduceMax", linear(net, tokens, 8, classes), axes=[2], keepdims=0)
        net.nodes.append(
            helper.make_node("TopK", [best, net.constant([QUERIES])], ["best", "chosen"], name="topk", axis=1)
        )
        row = net.add("Squeeze", reference, net.constant([0]))
        reference = net.add("Gather", row, "chosen", axis=0)
    boxes = net.add("Sigmoid", net.add("Add", linear(net, tokens, 8, 4), reference))
    return linear(net, tokens, 8, classes), boxes


def detr(batch: Batch, names: Tuple[str, str]) -> onnx.ModelProto:
    net = Net(batch)
    logits, boxes = detr_parts(net)
    return named(net, [(logits, names[0]), (boxes, names[1])])


def detr_refined(batch: Batch) -> onnx.ModelProto:
    """Two decoder layers: the second reads the first's boxes and corrects them, the scores read the boxes (D-FINE)."""
    net = Net(batch)
    tokens = queries(net)
    first = net.add("Sigmoid", linear(net, tokens, 8, 4))
    tokens = net.add("Relu", net.add("Add", tokens, linear(net, first, 4, 8)))
    inverse = net.add("Log", net.add("Div", first, net.add("Sub", net.constant(np.array(1, np.float32)), first)))
    boxes = net.add("Sigmoid", net.add("Add", linear(net, tokens, 8, 4), inverse))
    logits = net.add("Add", linear(net, tokens, 8, CLASSES), linear(net, boxes, 4, CLASSES))
    return named(net, [(logits, "pred_logits"), (boxes, "pred_boxes")])


def rf_detr(batch: Batch) -> onnx.ModelProto:
    """Centre = t * reference size + reference centre, size = exp(t) * reference size: no sigmoid. A score more."""
    net = Net(batch)
    tokens = queries(net)
    reference = net.random.uniform(0.1, 0.6, (1, QUERIES, 4)).astype(np.float32)
    centre, size = (
        net.add("Slice", linear(net, tokens, 8, 4), net.constant([a]), net.constant([b]), net.constant([2]))
        for a, b in ((0, 2), (2, 4))
    )
    centre = net.add("Mul", centre, net.constant(reference[:, :, 2:] / 4))
    centre = net.add("Add", centre, net.constant(reference[:, :, :2]))
    size = net.add("Mul", net.add("Exp", net.add("Tanh", size)), net.constant(reference[:, :, 2:] / 4))
    boxes = net.add("Concat", centre, size, axis=2)
    return named(net, [(boxes, "dets"), (linear(net, tokens, 8, CLASSES + 1), "labels")])


def detr_joined(batch: Batch, classes: int = CLASSES, *, chosen: bool = False) -> onnx.ModelProto:
    net = Net(batch)
    logits, boxes = detr_parts(net, classes, chosen=chosen)
    return named(net, [(net.add("Concat", boxes, net.add("Sigmoid", logits), axis=2), "output0")])


def detr_rows(batch: Batch) -> onnx.ModelProto:
    """Ultralytics' RT-DETR since it selects itself: centre and size as fractions, score, class."""
    net = Net(batch)
    logits, boxes = detr_parts(net, chosen=True)
    scores = net.add("Sigmoid", logits)
    labels = net.add("Cast", net.add("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
    best = net.add("ReduceMax", scores, axes=[2], keepdims=1)
    return named(net, [(net.add("Concat", boxes, best, labels, axis=2), "output0")])


def detr_deployed(batch: Batch) -> onnx.ModelProto:
    """The deploy mode of RT-DETR's postprocessor: a second input, the best pairs of query and class."""
    net = Net(batch)
    net.more_inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [batch, 2]))
    logits, boxes = detr_parts(net)
    parts = [
        net.add("Slice", boxes, net.constant([a]), net.constant([b]), net.constant([2])) for a, b in ((0, 2), (2, 4))
    ]
    half = net.add("Mul", parts[1], net.constant(np.array(0.5, np.float32)))
    corners = net.add("Concat", net.add("Sub", parts[0], half), net.add("Add", parts[0], half), axis=2)
    sizes = net.add("Tile", net.add("Cast", "orig_target_sizes", to=TensorProto.FLOAT), net.constant([1, 2]))
    pixels = net.add("Mul", corners, net.add("Unsqueeze", sizes, net.constant([1])))
    flat = net.add("Flatten", net.add("Sigmoid", logits), axis=1)
    net.nodes.append(helper.make_node("TopK", [flat, net.constant([50])], ["scores", "index"], name="topk", axis=1))
    count = net.constant([CLASSES])
    query = net.add("Div", "index", count)
    net.add("Sub", "index", net.add("Mul", query, count), output="int_labels")
    place = net.add("Tile", net.add("Unsqueeze", query, net.constant([2])), net.constant([1, 1, 4]))
    net.add("GatherElements", pixels, place, output="boxes", axis=1)
    return net.model(["int_labels", "boxes", "scores"])


def nanodet(batch: Batch, strides: Sequence[int], split: str = "", bins: int = 8) -> onnx.ModelProto:
    """One output, or two a stride ("rows", "planes"); classes behind a sigmoid; *bins* a side."""
    net = Net(batch)
    features, outputs, joined = net.backbone("input"), [], []
    for stride in strides:
        level = net.conv(features, 8, 8, stride=stride // 8) if stride > 8 else features
        scores, sides = net.add("Sigmoid", net.conv(level, 8, CLASSES)), net.conv(level, 8, 4 * bins)
        for plane, channels, name in ((scores, CLASSES, "cls"), (sides, 4 * bins, "dis")):
            flat = plane if split == "planes" else rows(net, plane, channels)
            outputs.append((flat, f"{name}_pred_stride_{stride}"))
        joined.append(
            net.add("Reshape", net.add("Concat", scores, sides, axis=1), net.constant([0, CLASSES + 4 * bins, -1]))
        )
    if split:
        return named(net, outputs)
    return named(net, [(net.add("Transpose", net.add("Concat", *joined, axis=2), perm=[0, 2, 1]), "output")])


def rows(net: Net, plane: str, channels: int) -> str:
    """[B, cells, channels] from [B, any multiple of channels, rows, columns], what belongs to a cell together."""
    last = net.add("Transpose", plane, perm=[0, 2, 3, 1])
    return net.add("Reshape", last, net.constant([0, -1, channels]))


def ssd_layers(net: Net, shapes: Sequence[int], channels: int) -> str:
    """[B, A, channels] of the six layers of SSD_GRIDS, so many anchors a cell."""
    level, found = net.conv(net.backbone("input"), 8, 8, stride=2), []
    for index, count in enumerate(shapes):
        if index:
            level = net.add("Relu", net.conv(net.add("MaxPool", level, kernel_shape=[1, 1], strides=[2, 2]), 8, 8))
        found.append(rows(net, net.conv(level, 8, channels * count), channels))
    return net.add("Concat", *found, axis=1)


def ssd(batch: Batch, shapes: Sequence[int], names: Tuple[str, str]) -> onnx.ModelProto:
    """Encoded boxes and logits with background, as many anchors a cell as *shapes* says for each layer."""
    net = Net(batch)
    return named(net, [(ssd_layers(net, shapes, 4), names[0]), (ssd_layers(net, shapes, 1 + CLASSES), names[1])])


def ssd_pytorch(batch: Batch) -> onnx.ModelProto:
    """Scores and decoded corners as fractions, as pytorch-ssd exports them for jetson-inference."""
    net = Net(batch)
    encoded = ssd_layers(net, [6] * 6, 4)
    centre, size = (
        net.add("Slice", encoded, net.constant([a]), net.constant([b]), net.constant([2])) for a, b in ((0, 2), (2, 4))
    )
    priors = net.random.uniform(0.1, 0.6, (1, 780, 4)).astype(np.float32)
    centre = net.add("Add", net.add("Mul", centre, net.constant(priors[:, :, 2:] / 10)), net.constant(priors[:, :, :2]))
    growth = net.add("Exp", net.add("Mul", size, net.constant(np.array(0.2, np.float32))))
    half = net.add("Mul", growth, net.constant(priors[:, :, 2:] / 2))
    corners = net.add("Concat", net.add("Sub", centre, half), net.add("Add", centre, half), axis=2)
    scores = net.add("Softmax", ssd_layers(net, [6] * 6, 1 + CLASSES), axis=2)
    return named(net, [(scores, "scores"), (corners, "boxes")])


def ssd300(batch: Batch) -> onnx.ModelProto:
    """The 8732 anchors of torchvision's SSD300 at its only input size, 300 x 300."""
    net = Net(batch)
    for axis in (2, 3):
        net.input.type.tensor_type.shape.dim[axis].dim_value = 300
    pooled = net.add("Flatten", net.add("GlobalAveragePool", net.backbone("input")), axis=1)
    found = []
    for channels in (4, 1 + CLASSES):
        weight = net.random.normal(0, 0.5, (8, 8732 * channels)).astype(np.float32)
        flat = net.add("Gemm", pooled, net.constant(weight))
        found.append(net.add("Reshape", flat, net.constant([-1, 8732, channels])))
    return named(net, [(found[0], "bbox_regression"), (found[1], "cls_logits")])


def tf_decoded(net: Net, channels: int = 1 + CLASSES) -> Tuple[str, str]:
    """Boxes y1, x1, y2, x2 as fractions and scores."""
    boxes = net.add("Sigmoid", ssd_layers(net, [6] * 6, 4))
    return boxes, net.add("Sigmoid", ssd_layers(net, [6] * 6, channels))


def tf_raw(batch: Batch) -> onnx.ModelProto:
    """All that the API hands out: detections behind an NMS of a picture in a loop's stead, and the raw tensors."""
    net = Net(batch, layout="nhwc")
    boxes, scores = tf_decoded(nhwc(net))
    best = net.add("ReduceMax", scores, axes=[2], keepdims=0)
    one = net.add("Unsqueeze", best, net.constant([1]))
    net.add("NonMaxSuppression", boxes, one, net.constant([10]), output="int_kept")
    return named(net, [(boxes, "raw_detection_boxes"), (scores, "raw_detection_scores")], "int_kept")


def tf_final(batch: Batch) -> onnx.ModelProto:
    """The postprocessed outputs alone: 20 rows, classes as floats from 1, the last rows without an object."""
    net = Net(batch, layout="nhwc")
    boxes, scores = tf_decoded(nhwc(net), CLASSES)
    best = net.add("ReduceMax", scores, axes=[2], keepdims=0)
    net.nodes.append(helper.make_node("TopK", [best, net.constant([20])], ["top", "place"], name="topk", axis=1))
    wide = net.add("Tile", net.add("Unsqueeze", "place", net.constant([2])), net.constant([1, 1, 4]))
    classes = net.add("GatherElements", net.add("ArgMax", scores, axis=2, keepdims=0), "place", axis=1)
    valid = net.constant(np.array([[1.0] * 16 + [0.0] * 4], np.float32))
    numbers = net.add("Add", net.add("Cast", classes, to=TensorProto.FLOAT), net.constant(np.array(1, np.float32)))
    outputs = [
        (net.add("GatherElements", boxes, wide, axis=1), "detection_boxes"),
        (net.add("Mul", numbers, valid), "detection_classes"),
        (net.add("Mul", "top", valid), "detection_scores"),
        (net.add("ReduceSum", net.add("Mul", valid, "top"), net.constant([1]), keepdims=0), "num_detections"),
    ]
    return named(net, outputs)


def nhwc(net: Net) -> Net:
    """Lets net.backbone("input") read a picture with its channels last."""
    backbone = net.backbone
    net.backbone = lambda tensor: backbone(net.add("Transpose", tensor, perm=[0, 3, 1, 2]))  # type: ignore[method-assign]
    return net


def with_nms(batch: Batch, kind: str, classes: int = CLASSES) -> onnx.ModelProto:
    """Boxes of up to 40 pixels, three apart, and their scores, behind one of the forms of NMS."""
    net = Net(batch)
    features = net.backbone("input")
    sides = net.add("Mul", net.add("Sigmoid", net.conv(features, 8, 4)), net.constant(np.array(40, np.float32)))
    boxes, logits = rows(net, sides, 4), rows(net, net.conv(features, 8, classes), classes)
    first, second = (
        net.add("Slice", boxes, net.constant([start]), net.constant([start + 2]), net.constant([2])) for start in (0, 2)
    )
    y, x = np.mgrid[: HEIGHT // 8, : WIDTH // 8] * 3.0
    cells = net.constant(np.stack([x, y], axis=-1).reshape(1, -1, 2).astype(np.float32))
    first = net.add("Add", first, cells)
    if kind not in ("nms-centre", "nms-efficient"):
        second = net.add("Add", first, second)
    boxes = net.add("Concat", first, second, axis=2)
    if kind == "nms-fraction":
        boxes = net.add("Div", boxes, net.constant(np.array([WIDTH, HEIGHT] * 2, np.float32)))
    if kind in ("nms-efficient", "nms-batched"):
        return plugin(net, kind, boxes, logits)
    scores = net.add("Sigmoid", logits)
    limits = net.constant([1000]), net.constant(np.array(0.5, np.float32)), net.constant(np.array(0.2, np.float32))
    if kind == "nms-offsets":  # YOLOv7's --end2end --max-wh: one class-blind NMS, classes moved apart
        best = net.add("ReduceMax", scores, axes=[2], keepdims=1)
        number = net.add("Cast", net.add("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
        moved = net.add("Add", boxes, net.add("Mul", number, net.constant(np.array(640, np.float32))))
        by_class = net.add("Transpose", best, perm=[0, 2, 1])
        net.add("NonMaxSuppression", moved, by_class, *limits, output="int_selected")
    else:
        centre = 1 if kind == "nms-centre" else 0
        by_class = net.add("Transpose", scores, perm=[0, 2, 1])
        net.add("NonMaxSuppression", boxes, by_class, *limits, output="int_selected", center_point_box=centre)
    picked = net.add("Gather", "int_selected", net.constant([2]), axis=1)
    return net.model([net.add("Gather", boxes, picked, axis=1), "int_selected"])


def plugin(net: Net, kind: str, boxes: str, logits: str) -> onnx.ModelProto:
    """TensorRT's plugins, which no checker knows: EfficientNMS (logits, centre and size), BatchedNMS (corners)."""
    efficient = kind == "nms-efficient"
    if not efficient:
        boxes, logits = net.add("Unsqueeze", boxes, net.constant([2])), net.add("Sigmoid", logits)
    names = ["int_num_dets", "det_boxes", "det_scores", "int_det_classes"]
    model = net.model([boxes, logits])
    attributes = {"box_coding": 1, "score_activation": 1} if efficient else {"shareLocation": 1, "isNormalized": 0}
    operator = "EfficientNMS_TRT" if efficient else "BatchedNMSDynamic_TRT"
    node = helper.make_node(
        operator, [boxes, logits], names, name="nms", domain="TRT", background_class=-1, **attributes
    )
    model.graph.node.append(node)
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


#: Every layout by name: see make_family_model().
FAMILY_MODELS: Dict[str, Callable[[Batch], onnx.ModelProto]] = {
    "detr": lambda batch: detr(batch, ("pred_logits", "pred_boxes")),
    "detr-hf": lambda batch: detr(batch, ("logits", "pred_boxes")),
    "detr-unnamed": lambda batch: detr(batch, ("output0", "output1")),
    "detr-refined": detr_refined,
    "detr-rf": rf_detr,
    "detr-joined": detr_joined,
    "detr-joined-chosen": lambda batch: detr_joined(batch, chosen=True),
    "detr-rows": detr_rows,
    "detr-deployed": detr_deployed,
    "nanodet": lambda batch: nanodet(batch, (8, 16, 32)),
    "nanodet-plus": lambda batch: nanodet(batch, (8, 16, 32, 64)),
    "nanodet-g": lambda batch: nanodet(batch, (8, 16, 32), bins=11),
    "nanodet-rows": lambda batch: nanodet(batch, (8, 16, 32), "rows"),
    "nanodet-planes": lambda batch: nanodet(batch, (8, 16, 32), "planes"),
    "ssd-tensorflow": lambda batch: ssd(batch, [3, 6, 6, 6, 6, 6], ("box_encodings", "class_predictions")),
    "ssd-lite": lambda batch: ssd(batch, [6] * 6, ("bbox_regression", "cls_logits")),
    "ssd300": ssd300,
    "ssd-pytorch": ssd_pytorch,
    "tf-raw": tf_raw,
    "tf-final": tf_final,
    "nms": lambda batch: with_nms(batch, "nms"),
    "nms-fraction": lambda batch: with_nms(batch, "nms-fraction"),
    "nms-centre": lambda batch: with_nms(batch, "nms-centre"),
    "nms-offsets": lambda batch: with_nms(batch, "nms-offsets"),
    "nms-efficient": lambda batch: with_nms(batch, "nms-efficient"),
    "nms-batched": lambda batch: with_nms(batch, "nms-batched"),
}


def make_family_model(name: str, batch: Batch = 1) -> onnx.ModelProto:
    """The model of one of FAMILY_MODELS as it was exported."""
    return FAMILY_MODELS[name](batch)
