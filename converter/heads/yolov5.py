"""YOLOv5 and YOLOv7 as they are exported: boxes, objectness and classes decoded, three anchors a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import SELECTING, Anchors, Head, Signature, best_class
from .boxes import graft_corners
from .grids import anchors_a_cell, beside_maps

__all__ = ["Yolov5Head"]


@dataclass(frozen=True)
class Yolov5Head(Head):
    """[B, A, 5 + C]: centre and size in input pixels, objectness, classes (sigmoid'd); score = objectness * class."""

    classes: int
    #: The output's place among all.
    place: int

    family: ClassVar[str] = "yolov5"
    layout: ClassVar[str] = (
        "one output [batch, anchors, 5 + classes] behind a sigmoid, "
        "three anchors for each cell of the grids of strides 8, 16, 32 (and 64, or 4)"
    )

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> Yolov5Head:
        size = signature.width, signature.height
        place = beside_maps(*size, signature.outputs)
        if place is None:
            raise ModelError(f"yolov5 needs {cls.layout}")
        output = signature.outputs[place]
        anchors, channels = (dim or 0 for dim in output.shape[1:])
        behind = signature.behind[output.name]
        three_a_cell = anchors_a_cell(*size, anchors) == 3
        if three_a_cell and channels > 5 and {"Sigmoid", "Mul"} <= behind and not SELECTING & behind:
            return cls(*size, anchors, channels - 5, (), place)
        raise ModelError(f"yolov5 needs {cls.layout}; at {signature.width}x{signature.height} input, this is {output}")

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        centre, size, objectness, scores = graft.split(outputs[self.place], (2, 2, 1, self.classes), 2)
        best, classes = best_class(graft, scores)
        objectness = graft.add("Squeeze", objectness, graft.constant(np.array([2], np.int64)))
        return Anchors(graft_corners(graft, centre, size), graft.add("Mul", objectness, best), classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = outputs[self.place]
        cx, cy, w, h = rows[:, :4].T
        return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1), rows[:, 4:5] * rows[:, 5:]
