"""YOLOX: one anchor a grid cell of strides 8, 16, 32 (and 64), offsets and log sizes, or decoded boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import Anchors, Head, Signature, best_class

__all__ = ["YoloxHead"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))


@dataclass(frozen=True)
class YoloxHead(Head):
    """[B, A, 5 + C] with dx, dy, log w, log h (or cx, cy, w, h in input pixels), objectness, classes; scores sigmoid'd.

    Decoding as in YOLOX: centre = (cell + d) * stride, size = exp(log size) * stride, score = objectness * class.
    """

    classes: int
    strides: Tuple[int, ...]
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
        for strides in _STRIDES:
            anchors = sum(columns * rows for columns, rows in _grids(*size, strides))
            # A Softmax there is a DFL, so another family: YOLOv8's [B, A, 4 + C] has as many anchors.
            if output.shape[1] == anchors and classes > 0 and "Softmax" not in behind:
                return cls(*size, anchors, classes, (), strides, decoded="Exp" in behind)
        raise ModelError(f"yolox needs {cls.layout}; at {signature.width}x{signature.height} input, this is {output}")

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        # Scores outside 0..1 are none: NanoDet's [B, A, C + 32] has as many anchors, and logits of distances last.
        lowest, highest = signature.range_of(signature.outputs[0].name, slice(5, None))
        return lowest >= 0 and highest <= 1 and super().matches(signature)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        centre, size, objectness, class_scores = graft.split(outputs[0], (2, 2, 1, self.classes), 2)
        if not self.decoded:
            cells, strides = self._cells()
            centre = graft.add("Mul", graft.add("Add", centre, graft.constant(cells)), graft.constant(strides))
            size = graft.add("Mul", graft.add("Exp", size), graft.constant(strides))
        half = graft.add("Mul", size, graft.constant(np.array(0.5, np.float32)))
        corners = graft.add("Sub", centre, half), graft.add("Add", centre, half)
        best, classes = best_class(graft, class_scores)
        objectness = graft.add("Squeeze", objectness, graft.constant(np.array([2], np.int64)))
        return Anchors(graft.add("Concat", *corners, axis=2), graft.add("Mul", objectness, best), classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = outputs[0]
        cx, cy, w, h = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
        if not self.decoded:
            places = [
                (x, y, stride)
                for stride in self.strides
                for y in range(-(-self.height // stride))
                for x in range(-(-self.width // stride))
            ]
            x, y, stride = np.array(places, np.float32).T
            cx, cy, w, h = (cx + x) * stride, (cy + y) * stride, np.exp(w) * stride, np.exp(h) * stride
        boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)
        return boxes.astype(np.float32), rows[:, 4:5] * rows[:, 5:]

    def _cells(self) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Every anchor's cell [1, A, 2] (x, y) and stride [1, A, 1], in the order of the output."""
        cells, strides = [], []
        for stride, (columns, rows) in zip(self.strides, _grids(self.width, self.height, self.strides)):
            y, x = np.mgrid[:rows, :columns]
            cells.append(np.stack([x, y], axis=-1).reshape(-1, 2))
            strides.append(np.full((columns * rows, 1), stride))
        return np.concatenate(cells)[None].astype(np.float32), np.concatenate(strides)[None].astype(np.float32)


def _grids(width: int, height: int, strides: Sequence[int]) -> List[Tuple[int, int]]:
    """Columns and rows of each stride's grid; what a stride does not divide rounds up, as its convolutions do."""
    return [(-(-width // stride), -(-height // stride)) for stride in strides]
