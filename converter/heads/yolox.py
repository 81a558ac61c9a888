"""YOLOX: one anchor a grid cell of strides 8, 16, 32 (and 64), offsets and log sizes, or decoded boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import SELECTING, Anchors, Head, Signature, best_class
from .boxes import graft_corners
from .grids import Grid, cells, pyramid_of
from .yolov8 import has_distances

__all__ = ["YoloxHead"]


@dataclass(frozen=True)
class YoloxHead(Head):
    """[B, A, 5 + C] with dx, dy, log w, log h (or cx, cy, w, h in input pixels), objectness, classes; scores sigmoid'd.

    Decoding as in YOLOX: centre = (cell + d) * stride, size = exp(log size) * stride, score = objectness * class.
    """

    classes: int
    grids: Tuple[Grid, ...]
    #: Boxes leave the model as centre and size in input pixels.
    decoded: bool

    family: ClassVar[str] = "yolox"
    layout: ClassVar[str] = (
        "one output [batch, anchors, 5 + classes], as many anchors as the grids of strides 8, 16, 32 (64) have cells"
    )

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> YoloxHead:
        if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 3:
            raise ModelError(f"yolox needs {cls.layout}")
        output = signature.outputs[0]
        behind = signature.behind[output.name]
        size = signature.width, signature.height
        classes = (output.shape[2] or 0) - 5
        grids = pyramid_of(*size, output.shape[1])
        # As many anchors has YOLOv8's [B, A, 4 + C], and what a model has selected may be as many by chance.
        if grids and classes > 0 and not has_distances(behind) and not SELECTING & behind:
            return cls(*size, output.shape[1] or 0, classes, (), grids, decoded="Exp" in behind)
        raise ModelError(f"yolox needs {cls.layout}; at {signature.width}x{signature.height} input, this is {output}")

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        # Scores outside 0..1 are none: NanoDet's [B, A, C + 32] has as many anchors, and logits of distances last.
        return signature.are_scores(signature.outputs[0].name, slice(5, None)) and super().matches(signature)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        centre, size, objectness, class_scores = graft.split(outputs[0], (2, 2, 1, self.classes), 2)
        if not self.decoded:
            place, stride = (graft.constant(values[None]) for values in cells(self.grids))
            centre = graft.add("Mul", graft.add("Add", centre, place), stride)
            size = graft.add("Mul", graft.add("Exp", size), stride)
        best, classes = best_class(graft, class_scores)
        objectness = graft.add("Squeeze", objectness, graft.constant(np.array([2], np.int64)))
        return Anchors(graft_corners(graft, centre, size), graft.add("Mul", objectness, best), classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = outputs[0]
        cx, cy, w, h = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
        if not self.decoded:
            places = [
                (x, y, grid.stride)
                for grid in self.grids
                for y in range(-(-self.height // grid.stride))
                for x in range(-(-self.width // grid.stride))
            ]
            x, y, stride = np.array(places, np.float32).T
            cx, cy, w, h = (cx + x) * stride, (cy + y) * stride, np.exp(w) * stride, np.exp(h) * stride
        boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)
        return boxes.astype(np.float32), rows[:, 4:5] * rows[:, 5:]
