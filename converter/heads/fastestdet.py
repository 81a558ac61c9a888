"""FastestDet: one grid of cells, each with objectness, a box and a softmax over the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import Anchors, Head, Signature, best_class
from .boxes import graft_corners

__all__ = ["FastestDetHead"]

#: score = objectness ** 0.6 * class ** 0.4, as FastestDet's own decoding has it.
_OBJECTNESS_POWER, _CLASS_POWER = 0.6, 0.4


@dataclass(frozen=True)
class FastestDetHead(Head):
    """[B, 5 + C, rows, columns]: objectness (sigmoid'd), tx, ty, tw, th, classes (softmaxed); a cell is an anchor.

    Decoding as in FastestDet: centre = (cell + tanh(t)) * stride, size = sigmoid(t) * input.
    """

    classes: int
    stride: int

    family: ClassVar[str] = "fastestdet"
    layout: ClassVar[str] = (
        "one output [batch, 5 + classes, rows, columns] behind a sigmoid (objectness) and a softmax (classes), "
        "the grid a whole fraction of the input"
    )

    @property
    def columns(self) -> int:
        """Cells in a row of the grid."""
        return self.width // self.stride

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> FastestDetHead:
        if len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 4:
            raise ModelError(f"fastestdet needs {cls.layout}")
        output = signature.outputs[0]
        _, channels, rows, columns = (dim or 0 for dim in output.shape)
        stride = signature.width // max(columns, 1)
        size = columns * stride, rows * stride
        activated = {"Sigmoid", "Softmax"} <= signature.behind[output.name]
        if size != (signature.width, signature.height) or channels < 6 or not activated:
            raise ModelError(f"fastestdet needs {cls.layout}; at {signature.width}x{signature.height} this is {output}")
        return cls(*size, rows * columns, channels - 5, (), stride)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        shape = graft.constant(np.array([-1, 5 + self.classes, self.anchors], np.int64))
        rows = graft.add("Transpose", graft.add("Reshape", outputs[0], shape), perm=[0, 2, 1])
        objectness, shift, size, class_scores = graft.split(rows, (1, 2, 2, self.classes), 2)
        centre = graft.add("Add", graft.add("Tanh", shift), graft.constant(self._cells()))
        centre = graft.add("Mul", centre, graft.constant(np.array(self.stride, np.float32)))
        size = graft.add(
            "Mul", graft.add("Sigmoid", size), graft.constant(np.array([self.width, self.height], np.float32))
        )
        boxes = graft_corners(graft, centre, size)
        best, classes = best_class(graft, class_scores)  # the power keeps the order of the classes
        objectness = graft.add("Squeeze", objectness, graft.constant(np.array([2], np.int64)))
        objectness = graft.add("Pow", objectness, graft.constant(np.array(_OBJECTNESS_POWER, np.float32)))
        best = graft.add("Pow", best, graft.constant(np.array(_CLASS_POWER, np.float32)))
        return Anchors(boxes, graft.add("Mul", objectness, best), classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        plane = outputs[0].astype(np.float64)
        rows, columns = plane.shape[1:]
        y, x = np.indices((rows, columns))
        cx, cy = (x + np.tanh(plane[1])) / columns, (y + np.tanh(plane[2])) / rows
        w, h = 1 / (1 + np.exp(-plane[3])), 1 / (1 + np.exp(-plane[4]))
        fractions = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=-1).reshape(-1, 4)
        scores = plane[0] ** _OBJECTNESS_POWER * plane[5:] ** _CLASS_POWER
        boxes = fractions * [self.width, self.height, self.width, self.height]
        return boxes.astype(np.float32), scores.reshape(self.classes, -1).T.astype(np.float32)

    def _cells(self) -> NDArray[np.float32]:
        """Every anchor's cell, [1, A, 2] (x, y)."""
        places = np.arange(self.anchors)
        return np.stack([places % self.columns, places // self.columns], axis=-1)[None].astype(np.float32)
