"""YOLOv6: decoded rows of one anchor a cell whose objectness is a constant 1, which tells it from its relatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping

from sightd.errors import ModelError

from .base import Signature, has_ones
from .grids import anchors_a_cell
from .yolov5 import Yolov5Head

__all__ = ["Yolov6Head"]


@dataclass(frozen=True)
class Yolov6Head(Yolov5Head):
    """[B, A, 5 + C]: centre and size in input pixels, 1, classes (sigmoid'd)."""

    family: ClassVar[str] = "yolov6"
    layout: ClassVar[str] = (
        "one output [batch, anchors, 5 + classes] with 1 for objectness, "
        "as many anchors as the grids of strides 8, 16, 32 (and 64, or 4) have cells"
    )

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> Yolov6Head:
        size, outputs = (signature.width, signature.height), signature.outputs
        if len(outputs) != 1 or len(outputs[0].shape) != 3:
            raise ModelError(f"yolov6 needs {cls.layout}")
        anchors, channels = (dim or 0 for dim in outputs[0].shape[1:])
        if anchors_a_cell(*size, anchors) != 1 or channels < 6 or not has_ones(signature, outputs[0].name):
            raise ModelError(f"yolov6 needs {cls.layout}; at {size[0]}x{size[1]} input, this is {outputs[0]}")
        return cls(*size, anchors, channels - 5, (), 0)
