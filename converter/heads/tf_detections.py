"""What TensorFlow's detection API hands out: decoded boxes and scores before its NMS, or the detections behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import Anchors, Head, Signature, best_class
from .boxes import graft_xyxy, one_hot, option, xyxy

__all__ = ["TfDetectionsHead"]

_RAW = ("raw_detection_boxes", "raw_detection_scores")
_FINAL = ("detection_boxes", "detection_scores", "detection_classes")


@dataclass(frozen=True)
class TfDetectionsHead(Head):
    """raw_detection_boxes [B, A, 4] and raw_detection_scores [B, A, 1 + C], else detection_boxes [B, K, 4],
    detection_scores [B, K] and detection_classes [B, K]; boxes are y1, x1, y2, x2 as fractions of the input.

    Where both leave the model, the raw ones are read, and NMS goes (converter.model.nms). Scores beyond num_detections
    are 0, so that is not read. Classes count from 1, in TensorFlow Lite's postprocessing from 0.
    """

    #: Places of boxes, scores and, behind NMS, classes among the outputs.
    places: Tuple[int, ...]
    #: Behind NMS, the number of the first class; in raw scores how many columns come before it.
    first_class: int

    family: ClassVar[str] = "tf-detections"
    layout: ClassVar[str] = (
        "raw_detection_boxes [batch, anchors, 4] and raw_detection_scores [batch, anchors, 1 + classes], or "
        "detection_boxes [batch, n, 4], detection_scores [batch, n] and detection_classes [batch, n]"
    )
    options: ClassVar[Tuple[str, ...]] = ("first_class",)

    @property
    def nms_iou(self) -> float:
        return super().nms_iou if self.classes else 1.0

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> TfDetectionsHead:
        # A frozen graph of TensorFlow 1 has "name:0".
        places = {output.name.split(":")[0]: place for place, output in enumerate(signature.outputs)}
        names = next((names for names in (_RAW, _FINAL) if set(names) <= set(places)), ())
        read = [signature.outputs[places[name]] for name in names]
        if not read or len({output.shape[1] for output in read}) != 1 or read[0].shape[2:] != (4,):
            raise ModelError(f"tf-detections needs {cls.layout}")
        first_class = int(option(options, "first_class", ("0", "1"), "1"))
        classes = (read[1].shape[2] or 0) - first_class if names == _RAW else None
        if classes is not None and classes < 1:
            raise ModelError(f"tf-detections needs {cls.layout}")
        assumptions = () if options else (_assumption(names == _RAW),)
        size = signature.width, signature.height
        return cls(*size, read[0].shape[1] or 0, classes, assumptions, tuple(places[n] for n in names), first_class)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        boxes, scores, *numbers = (outputs[place] for place in self.places)
        boxes = graft_xyxy(graft, boxes, "yxyx", (self.width, self.height))
        if not numbers:
            if self.first_class:
                _, scores = graft.split(scores, (self.first_class, self.classes or 0), 2)
            return Anchors(boxes, *best_class(graft, scores))
        classes = graft.add("Cast", numbers[0], to=TensorProto.INT64)
        classes = graft.add("Sub", classes, graft.constant(np.array(self.first_class, np.int64)))
        # Of rows beyond num_detections TensorFlow makes class 0.
        return Anchors(boxes, scores, graft.add("Max", classes, graft.constant(np.array(0, np.int64))))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores, *numbers = (outputs[place] for place in self.places)
        corners = xyxy(boxes, "yxyx", (self.width, self.height))
        if not numbers:
            return corners, scores[:, self.first_class :]
        return corners, one_hot(scores, np.clip(numbers[0].astype(int) - self.first_class, 0, None))


def _assumption(raw: bool) -> str:
    if raw:
        return (
            "the first column of raw_detection_scores is taken as background: where there is none (as many columns as "
            "classes), set --head-option first_class=0"
        )
    return (
        "detection_classes are taken to count from 1: where they count from 0, as behind TensorFlow Lite's "
        "postprocessing, set --head-option first_class=0"
    )
