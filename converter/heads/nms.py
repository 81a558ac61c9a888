"""What goes into NMS in the graph, where that was cut off (converter.model.nms): boxes, scores, perhaps classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model import nms
from ..model.graft import Graft
from .base import Anchors, Head, Signature, best_class
from .boxes import BOX_FORMATS, BOX_UNITS, graft_xyxy, one_hot, option, pixels_of, xyxy

__all__ = ["NmsHead"]


@dataclass(frozen=True)
class NmsHead(Head):
    """The outputs that converter.model.nms leaves: boxes with scores [B, A, C] or [B, C, A], or with one class each.

    NMS does not tell if x or y comes first, nor the unit: x, and pixels unless no box of a black picture goes beyond 2.
    """

    #: Places of boxes, scores and, where each box has one class, classes among the outputs.
    places: Tuple[int, ...]
    #: The scores are [B, C, A].
    by_class: bool
    logits: bool
    box_format: str
    box_unit: str

    family: ClassVar[str] = "nms"
    layout: ClassVar[str] = (
        "one NonMaxSuppression, EfficientNMS_TRT or BatchedNMS_TRT at the end, of all anchors: it is cut off"
    )
    options: ClassVar[Tuple[str, ...]] = ("box_format", "box_unit")

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> NmsHead:
        places = {output.name: place for place, output in enumerate(signature.outputs)}
        formats = [name for name, output in nms.BOXES.items() if output in places]
        kinds = [name for name in (nms.SCORES, nms.LOGITS, nms.CLASS_SCORES) if name in places]
        if len(formats) != 1 or len(kinds) != 1:
            raise ModelError(f"nms needs {cls.layout}")
        boxes, scores = signature.outputs[places[nms.BOXES[formats[0]]]], signature.outputs[places[kinds[0]]]
        anchors, (a, b) = boxes.shape[1] or 0, scores.shape[1:]
        by_class = kinds[0] == nms.CLASS_SCORES
        if (b if by_class else a) != anchors or boxes.shape[2:] not in ((4,), (1, 4)):
            raise ModelError(f"nms needs {cls.layout}")
        box_format = option(options, "box_format", BOX_FORMATS, formats[0])
        seen = "fraction" if signature.are_fractions(boxes.name) else "pixels"
        box_unit = option(options, "box_unit", BOX_UNITS, seen)
        read = [places[boxes.name], places[scores.name], *([places[nms.CLASSES]] if nms.CLASSES in places else [])]
        classes = None if len(read) == 3 else (a if by_class else b)
        assumptions = () if set(options) == set(cls.options) else (_assumption(box_format, box_unit),)
        size = signature.width, signature.height
        logits = kinds[0] == nms.LOGITS
        return cls(*size, anchors, classes, assumptions, tuple(read), by_class, logits, box_format, box_unit)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        boxes, scores, *classes = (outputs[place] for place in self.places)
        boxes = graft.add("Reshape", boxes, graft.constant(np.array([-1, self.anchors, 4], np.int64)))
        boxes = graft_xyxy(graft, boxes, self.box_format, self._unit)
        if self.by_class:
            scores = graft.add("Transpose", scores, perm=[0, 2, 1])
        best, of_best = best_class(graft, scores)
        if self.logits:  # of the best only: it keeps the order of the classes
            best = graft.add("Sigmoid", best)
        if classes:
            of_best = graft.add("Reshape", classes[0], graft.constant(np.array([-1, self.anchors], np.int64)))
        return Anchors(boxes, best, of_best)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores, *classes = (outputs[place] for place in self.places)
        columns = scores.T if self.by_class else scores
        if self.logits:
            columns = 1 / (1 + np.exp(-columns.astype(np.float64)))
        if classes:
            columns = one_hot(columns[:, 0], classes[0].reshape(-1).astype(int))
        return xyxy(boxes.reshape(-1, 4), self.box_format, self._unit), columns.astype(np.float32)

    @property
    def _unit(self) -> Tuple[int, int]:
        return pixels_of(self.box_unit, self.width, self.height)


def _assumption(box_format: str, box_unit: str) -> str:
    return (
        f"boxes are taken as {box_format} in {box_unit}, which NMS does not tell: where the annotated picture shows "
        f"them wrong, set box_format ({' or '.join(BOX_FORMATS)}) and box_unit ({' or '.join(BOX_UNITS)})"
    )
