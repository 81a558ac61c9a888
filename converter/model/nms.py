"""Non-maximum suppression, cut off a graph: what feeds it is what a detector predicts, and goes by batch in any engine.

Boxes, scores and classes then leave the graph under names that say what they are; converter.heads.nms reads them.
"""

from __future__ import annotations

from typing import AbstractSet, Callable, Dict, Mapping, Optional

import onnx
from onnx import helper

from sightd.errors import ModelError

from .surgery import all_nodes, ancestors, keep_outputs

__all__ = ["BOXES", "CLASSES", "CLASS_SCORES", "LOGITS", "SCORES", "without_nms"]

#: Box format -> the output with boxes [B, A, 4] (or [B, A, 1, 4]) in it.
BOXES: Mapping[str, str] = {name: f"nms/boxes-{name}" for name in ("xyxy", "cxcywh")}
#: Scores [B, A, C]; the same before their sigmoid; scores [B, C, A].
SCORES, LOGITS, CLASS_SCORES = "nms/scores", "nms/logits", "nms/class-scores"
#: [B, A] or [B, A, 1] where C is 1 and the best class is known.
CLASSES = "nms/classes"

#: TensorFlow's detection API hands out what goes into its NMS beside what comes out.
_RAW = ("raw_detection_boxes", "raw_detection_scores")
_FROM_TENSORFLOW = "detection_boxes"
_MOVING = frozenset(["Cast", "Flatten", "Identity", "Mul", "Reshape", "Squeeze", "Transpose", "Unsqueeze"])
#: As many boxes come out of these as the picture has objects: no anchors any more.
_DATA_DEPENDENT = frozenset(["If", "Loop", "NonMaxSuppression", "NonZero", "Scan"])

_Kept = Optional[Dict[str, str]]


def without_nms(model: onnx.ModelProto) -> onnx.ModelProto:
    """*model*, or a copy whose outputs are what goes into its non-maximum suppression.

    A plugin that can't be taken off is left, to be refused as any foreign operator.

    :raises ModelError: ONNX's own NonMaxSuppression stands where the anchors behind it can't be reached.
    """
    outputs = {value.name.split(":")[0]: value.name for value in model.graph.output}
    if set(_RAW) <= set(outputs):
        return keep_outputs(model, {outputs[name]: outputs[name] for name in _RAW})
    found = [node for node in all_nodes(model.graph) if node.op_type in _CUTS]
    if not found or _FROM_TENSORFLOW in outputs:
        return model
    # One in a body of If or Loop is run picture by picture.
    apart = len(found) == 1 and found[0] in model.graph.node
    kept = _CUTS[found[0].op_type](model.graph, found[0]) if apart else None
    if kept:
        return keep_outputs(model, kept)
    if found[0].op_type == "NonMaxSuppression":
        raise ModelError(
            f"node {(found[0].name or found[0].output[0])!r} is non-maximum suppression, in a form that can't be taken "
            "off the graph (it runs picture by picture, or on boxes that were filtered before), and no engine runs it "
            "by batch. Export the model without it, sightd does it itself: nms=False (Ultralytics), no --end2end "
            "(YOLOv7), the raw head outputs (torchvision)"
        )
    return model


def _onnx_nms(graph: onnx.GraphProto, node: onnx.NodeProto) -> _Kept:
    """ONNX: boxes [B, A, 4], scores [B, C, A]; https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html."""
    boxes, scores = node.input[:2]
    made_by = {tensor: maker for maker in graph.node for tensor in maker.output}
    behind = ancestors(graph, {boxes, scores})
    if any(made_by[tensor].op_type in _DATA_DEPENDENT for tensor in behind):
        return None
    box_format = "cxcywh" if _attribute(node, "center_point_box", 0) else "xyxy"
    classes = _best_classes(graph, made_by, scores)
    if classes is None:
        return {BOXES[box_format]: boxes, CLASS_SCORES: scores}
    boxes = _without_class_offsets(made_by, boxes, classes)
    return {BOXES[box_format]: boxes, CLASS_SCORES: scores, CLASSES: classes}


def _efficient_nms(graph: onnx.GraphProto, node: onnx.NodeProto) -> _Kept:
    """TensorRT's plugin: boxes [B, A, 4], scores [B, A, C]; a third input would be anchors to decode with.

    https://github.com/NVIDIA/TensorRT/tree/main/plugin/efficientNMSPlugin
    """
    if len(node.input) != 2 or _attribute(node, "background_class", -1) >= 0:
        return None
    box_format = "cxcywh" if _attribute(node, "box_coding", 0) else "xyxy"
    scores = LOGITS if _attribute(node, "score_activation", 0) else SCORES
    return {BOXES[box_format]: node.input[0], scores: node.input[1]}


def _batched_nms(graph: onnx.GraphProto, node: onnx.NodeProto) -> _Kept:
    """TensorRT's older plugin: boxes [B, A, 1, 4], scores [B, A, C].

    https://github.com/NVIDIA/TensorRT/tree/main/plugin/batchedNMSPlugin
    """
    background = (_attribute(node, name, -1) for name in ("backgroundLabelId", "background_label_id"))
    if not _attribute(node, "shareLocation", 1) or max(background) >= 0:
        return None
    return {BOXES["xyxy"]: node.input[0], SCORES: node.input[1]}


def _best_classes(graph: onnx.GraphProto, made_by: Mapping[str, onnx.NodeProto], scores: str) -> Optional[str]:
    """The tensor of the best class, where *scores* are those of the best class: the ArgMax beside their ReduceMax."""
    best = _first_behind(made_by, scores, _MOVING - {"Mul"})
    if best is None or best.op_type != "ReduceMax":
        return None
    twins = [node for node in graph.node if node.op_type == "ArgMax" and node.input[0] == best.input[0]]
    return str(twins[0].output[0]) if twins else None


def _without_class_offsets(made_by: Mapping[str, onnx.NodeProto], boxes: str, classes: str) -> str:
    """*boxes* before each class was moved to a place of its own, which makes a class-blind NMS class-wise."""
    moved = made_by.get(boxes)
    if moved is None or moved.op_type != "Add":
        return boxes
    for own, other in (moved.input, reversed(moved.input)):
        offset = _first_behind(made_by, other, _MOVING)
        if offset is not None and classes in offset.output:
            return str(own)
    return boxes


def _first_behind(
    made_by: Mapping[str, onnx.NodeProto], tensor: str, passed: AbstractSet[str]
) -> Optional[onnx.NodeProto]:
    """The nearest node that makes *tensor* and is none of *passed*."""
    node = made_by.get(tensor)
    while node is not None and node.op_type in passed:
        inputs = [name for name in node.input if name in made_by and made_by[name].op_type != "Constant"]
        node = made_by[inputs[0]] if inputs else None
    return node


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    values = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return int(values[0]) if values else default


_CUTS: Mapping[str, Callable[[onnx.GraphProto, onnx.NodeProto], _Kept]] = {
    "NonMaxSuppression": _onnx_nms,
    "EfficientNMS_TRT": _efficient_nms,
    "BatchedNMS_TRT": _batched_nms,
    "BatchedNMSDynamic_TRT": _batched_nms,
    "TRTBatchedNMS": _batched_nms,  # the same in mmdeploy
}
