"""The two ends of a finished graph: from uint8 pictures to the model's input, and from anchors to the K best."""

from __future__ import annotations

from typing import Tuple, Union

import numpy as np
import onnx
from onnx import TensorProto, helper

from sightd.types import InputSpec

from ..heads import Anchors, Head
from .batch import BATCH
from .graft import Graft
from .graph import rename_tensors

__all__ = ["INPUT", "OUTPUTS", "add_input", "add_outputs"]

INPUT = "images"
OUTPUTS = ("boxes", "scores", "classes")


def add_input(model: onnx.ModelProto, spec: InputSpec) -> None:
    """Put the input "images" (uint8 [N, H, W, 3] BGR) and the preprocessing of *spec* before the graph, in place."""
    graph = model.graph
    graft = Graft("input")
    prepared = _graft_preprocessing(graft, spec)
    reserved = {name: f"model/{name}" for name in (INPUT, *OUTPUTS)}
    rename_tensors(graph, {**reserved, graph.input[0].name: prepared})
    graft.insert(graph, 0)
    pixels = [_batch(graph.input[0]), spec.height, spec.width, 3]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, pixels))


def add_outputs(model: onnx.ModelProto, head: Head, candidates: int) -> None:
    """Put decoding and the cut to the best *candidates* anchors behind the graph, in place; only they leave it."""
    graph = model.graph
    decoding, cut = Graft(head.family), Graft("best")
    anchors = head.graft(decoding, [value.name for value in graph.output])
    tensors = _graft_cut(cut, anchors, candidates)
    decoding.insert(graph, len(graph.node))
    cut.insert(graph, len(graph.node))
    batch = _batch(graph.input[0])  # an output may declare no shape at all
    del graph.output[:]
    rename_tensors(graph, dict(zip(tensors, OUTPUTS)))
    kinds = TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32
    for name, kind, box in zip(OUTPUTS, kinds, ([4], [], [])):
        graph.output.append(helper.make_tensor_value_info(name, kind, [batch, candidates, *box]))


def _graft_preprocessing(graft: Graft, spec: InputSpec) -> str:
    pixels = graft.add("Cast", INPUT, to=TensorProto.FLOAT)  # first: TensorRT takes uint8 into nothing else
    swapped = spec.channel_order == "rgb"
    if swapped or spec.layout == "nchw":
        pixels = graft.add("Transpose", pixels, perm=[0, 3, 1, 2])
    if swapped:  # whole planes: picking from interleaved pixels takes ONNX Runtime eight times as long
        pixels = graft.add("Gather", pixels, graft.constant(np.array([2, 1, 0], np.int64)), axis=1)
    if swapped and spec.layout == "nhwc":
        pixels = graft.add("Transpose", pixels, perm=[0, 2, 3, 1])
    channels = (1, 3, 1, 1) if spec.layout == "nchw" else (1, 1, 1, 3)
    std = np.array(spec.std).reshape(channels)
    factor, shift = spec.scale / std, -np.array(spec.mean).reshape(channels) / std
    if np.any(factor != 1):
        pixels = graft.add("Mul", pixels, graft.constant(factor.astype(np.float32)))
    if np.any(shift != 0):
        pixels = graft.add("Add", pixels, graft.constant(shift.astype(np.float32)))
    return pixels


def _graft_cut(graft: Graft, anchors: Anchors, candidates: int) -> Tuple[str, str, str]:
    count = graft.constant(np.array([candidates], np.int64))
    scores, best = graft.add_all("TopK", anchors.scores, count, outputs=2, axis=1)
    corners = graft.add("Unsqueeze", best, graft.constant(np.array([2], np.int64)))
    corners = graft.add("Expand", corners, graft.constant(np.array([1, 1, 4], np.int64)))
    boxes = graft.add("GatherElements", anchors.boxes, corners, axis=1)
    classes = graft.add("Cast", anchors.classes, to=TensorProto.INT32)
    return boxes, scores, graft.add("GatherElements", classes, best, axis=1)


def _batch(value: onnx.ValueInfoProto) -> Union[int, str]:
    batch: Union[int, str] = value.type.tensor_type.shape.dim[0].dim_value or BATCH
    return batch
