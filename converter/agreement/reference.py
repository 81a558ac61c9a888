"""The truth of the agreement gate: the unfinished float model behind plain NumPy preprocessing and decoding.

Nothing here is shared with what it judges (sightd.resize, the graph's prologue and decoding), so that
one mistake can't hide in both. It is written to be read, not to be fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Tuple, Union

import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.nms import detections
from sightd.types import Candidates, Detections, Image, InputSpec, Placement

from ..heads import Head
from ..model.graph import load_onnx, model_input
from ..model.session import Session

__all__ = ["Reference", "normalised", "placed"]

_CANDIDATES = 300
_Floats = NDArray[np.float64]


class Reference:
    """A model as its author meant it, one picture at a time."""

    def __init__(self, model: Union[onnx.ModelProto, Path], spec: InputSpec, head: Head) -> None:
        """Load the unfinished *model*.

        :raises ModelError: it can't be read or ONNX Runtime refuses it.
        """
        model = load_onnx(model) if isinstance(model, Path) else model
        self._batch = model_input(model).shape[0] or 1
        self._session = Session(model)
        self._spec, self._head = spec, head

    def candidates(self, image: Image) -> Tuple[Candidates, Placement]:
        """The 300 best anchors of one picture ([H, W, 3] uint8 BGR), and where it lay in the input."""
        pixels, place = placed(image, self._spec)
        batch = np.repeat(normalised(pixels, self._spec)[None], self._batch, axis=0)
        boxes, scores = self._head.decode([output[0] for output in self._session.run(batch)])
        best = scores.max(axis=1)
        order = np.argsort(-best, kind="stable")[:_CANDIDATES]
        classes = scores.argmax(axis=1)[order].astype(np.int32)
        return Candidates(boxes[order][None], best[order][None], classes[None]), place

    def detect(self, image: Image, min_score: float, iou: float) -> Detections:
        """The objects of one picture after class-wise NMS, boxes in source pixels."""
        candidates, place = self.candidates(image)
        return detections(candidates, [place], min_score=min_score, iou=iou)[0]


def placed(image: Image, spec: InputSpec) -> Tuple[Image, Placement]:
    """The picture resized into the model's input, [spec.height, spec.width, 3] uint8 BGR, and where it lies there."""
    height, width = image.shape[:2]
    inner_w, inner_h = spec.width, spec.height
    if spec.resize != "stretch":
        ratio = min(spec.width / width, spec.height / height)
        inner_w, inner_h = max(int(width * ratio), 1), max(int(height * ratio), 1)
    left = top = 0
    if spec.resize == "letterbox-centre":
        left, top = (spec.width - inner_w) // 2, (spec.height - inner_h) // 2
    resized = _resized(_resized(image.astype(np.float64), 0, inner_h, spec), 1, inner_w, spec)
    pixels = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
    pixels[top : top + inner_h, left : left + inner_w] = np.rint(resized)
    return pixels, Placement(inner_w / width, inner_h / height, left, top, width, height)


def normalised(pixels: Image, spec: InputSpec) -> NDArray[np.float32]:
    """[H, W, 3] uint8 BGR as the model wants it: channel order, scale, mean, std, layout; no batch dimension."""
    ordered = pixels[:, :, ::-1] if spec.channel_order == "rgb" else pixels
    values = (ordered * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    return np.ascontiguousarray(values.transpose(2, 0, 1) if spec.layout == "nchw" else values, np.float32)


def _resized(image: _Floats, axis: int, size: int, spec: InputSpec) -> _Floats:
    """*image* resized along one axis; pixel centres lie at half-integers, as in OpenCV."""
    length = image.shape[axis]
    if size == length:
        return image
    if spec.interpolation == "nearest":
        nearest: _Floats = image.take(np.arange(size) * length // size, axis)
        return nearest
    if spec.interpolation == "area":
        return _area(image, axis, size)
    return _linear(image, axis, size)


def _linear(image: _Floats, axis: int, size: int) -> _Floats:
    length = image.shape[axis]
    centre = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    before = np.floor(centre).astype(int)
    after = np.minimum(before + 1, length - 1)
    share = np.expand_dims(centre - before, tuple(range(1, image.ndim - axis)))
    result: _Floats = image.take(before, axis) * (1 - share) + image.take(after, axis) * share
    return result


def _area(image: _Floats, axis: int, size: int) -> _Floats:
    """The mean over each output pixel's extent: differences of the running sum at its edges."""
    length = image.shape[axis]
    edges = np.arange(size + 1) * (length / size)
    sums = np.insert(image.cumsum(axis), 0, 0.0, axis)
    place = np.clip(edges, 0, length)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, length)
    share = np.expand_dims(place - before, tuple(range(1, image.ndim - axis)))
    at_edges = sums.take(before, axis) * (1 - share) + sums.take(after, axis) * share
    means: _Floats = np.diff(at_edges, axis=axis) / (length / size)
    return means
