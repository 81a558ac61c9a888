"""YOLOv10, YOLO26, RT-DETR and other exports that select inside: a row is a box with its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import SELECTING, Anchors, Head, Signature
from .boxes import graft_xyxy, one_hot, xyxy
from .grids import anchors_a_cell, beside_maps

__all__ = ["EndToEndHead"]


@dataclass(frozen=True)
class EndToEndHead(Head):
    """[B, N, 6]: x1, y1, x2, y2 in input pixels, score, class; of Ultralytics' RT-DETR centre and size as fractions."""

    #: The output's place among all.
    place: int
    #: Boxes are centre and size as fractions of the input.
    queries: bool
    #: The rows are behind a TopK: they may be as many as the anchors of some grids by chance.
    selected: bool

    family: ClassVar[str] = "end-to-end"
    layout: ClassVar[str] = (
        "one output [batch, rows, 6] of x1, y1, x2, y2 (or centre and size as fractions), score, class behind a TopK, "
        "or an ArgMax over the classes"
    )

    @property
    def preset(self) -> str:
        return "detr" if self.queries else self.family

    @property
    def nms_iou(self) -> float:
        # Two boxes that overlap are two objects to a model that has selected; one that only names the best class
        # of every anchor, as exports for DeepStream do, has not.
        named_only = anchors_a_cell(self.width, self.height, self.anchors) and not self.selected
        return super().nms_iou if named_only else 1.0

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> EndToEndHead:
        place = beside_maps(signature.width, signature.height, signature.outputs)
        if place is None or signature.outputs[place].shape[2] != 6:
            raise ModelError(f"end-to-end needs {cls.layout}")
        output, size = signature.outputs[place], (signature.width, signature.height)
        queries, selected = signature.are_fractions(output.name), "TopK" in signature.behind[output.name]
        return cls(*size, output.shape[1] or 0, None, (), place, queries, selected)

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        """Also what made the rows, and whole numbers last: two classes take six columns as well."""
        if not super().matches(signature) or not any(SELECTING & behind for behind in signature.behind.values()):
            return False
        return signature.are_whole(signature.outputs[cls.fit(signature, {}).place].name, slice(5, 6))

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        boxes, *columns = graft.split(outputs[self.place], (4, 1, 1), 2)
        axis = graft.constant(np.array([2], np.int64))
        scores, classes = (graft.add("Squeeze", column, axis) for column in columns)
        if self.queries:
            boxes = graft_xyxy(graft, boxes, "cxcywh", (self.width, self.height))
        return Anchors(boxes, scores, graft.add("Cast", classes, to=TensorProto.INT32))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = outputs[self.place]
        boxes = xyxy(rows[:, :4], "cxcywh", (self.width, self.height)) if self.queries else rows[:, :4]
        return boxes, one_hot(rows[:, 4], np.maximum(rows[:, 5], 0).astype(int))  # some fill up with class -1
