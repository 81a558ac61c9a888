"""YOLOv10, YOLO26 and other exports that select inside: a row is a box with its class, with nothing left to decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import SELECTING, Anchors, Head, Signature
from .boxes import one_hot
from .grids import anchors_a_cell, beside_maps

__all__ = ["EndToEndHead"]


@dataclass(frozen=True)
class EndToEndHead(Head):
    """[B, N, 6]: x1, y1, x2, y2 in input pixels, score, class."""

    #: The output's place among all.
    place: int

    family: ClassVar[str] = "end-to-end"
    layout: ClassVar[str] = (
        "one output [batch, rows, 6] of x1, y1, x2, y2, score, class behind a TopK, or an ArgMax over the classes"
    )

    @property
    def nms_iou(self) -> float:
        # Two boxes that overlap are two objects to a model that has selected; one that only names the best class
        # of every anchor, as exports for DeepStream do, has not.
        return super().nms_iou if anchors_a_cell(self.width, self.height, self.anchors) else 1.0

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> EndToEndHead:
        place = beside_maps(signature.width, signature.height, signature.outputs)
        if place is None or signature.outputs[place].shape[2] != 6:
            raise ModelError(f"end-to-end needs {cls.layout}")
        return cls(signature.width, signature.height, signature.outputs[place].shape[1] or 0, None, (), place)

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        """Also what made the rows: one class and objectness, or two classes, take six columns as well.

        The queries of an RT-DETR of two classes are behind a TopK too, with boxes that are fractions.
        """
        if not super().matches(signature) or not any(SELECTING & behind for behind in signature.behind.values()):
            return False
        return not signature.are_fractions(signature.outputs[cls.fit(signature, {}).place].name)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        boxes, *columns = graft.split(outputs[self.place], (4, 1, 1), 2)
        axis = graft.constant(np.array([2], np.int64))
        scores, classes = (graft.add("Squeeze", column, axis) for column in columns)
        return Anchors(boxes, scores, graft.add("Cast", classes, to=TensorProto.INT32))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = outputs[self.place]
        return rows[:, :4], one_hot(rows[:, 4], np.maximum(rows[:, 5], 0).astype(int))  # some fill up with class -1
