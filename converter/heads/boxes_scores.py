"""Boxes and scores as plain outputs: the layout of exports that decode inside and leave NMS to others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from ..model.graph import Tensor
from .base import Anchors, Head, Signature, best_class
from .boxes import BOX_UNITS, graft_xyxy, one_hot, option, pixels_of, xyxy

__all__ = ["BoxesScoresHead"]

_FORMATS = ("xyxy", "cxcywh")
#: Of boxes so many have sides that are no less than 0; what the background is given may be anything.
_MOST = 0.9


@dataclass(frozen=True)
class BoxesScoresHead(Head):
    """Boxes [B, A, 4] with scores [B, A, C], or with scores [B, A] and integer classes [B, A].

    What the boxes of a black picture can't be otherwise is taken: corners where these lie in order, pixels where they
    go beyond the fractions.
    """

    #: Places of boxes and scores, and of the classes where they are an output, among the outputs.
    places: Tuple[int, ...]
    box_format: str
    box_unit: str

    family: ClassVar[str] = "boxes-scores"
    layout: ClassVar[str] = (
        "boxes [batch, anchors, 4] and scores [batch, anchors, classes], "
        "or boxes, scores [batch, anchors] and integer classes [batch, anchors]"
    )
    options: ClassVar[Tuple[str, ...]] = ("box_format", "box_unit")
    general: ClassVar[bool] = True

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> BoxesScoresHead:
        outputs = signature.outputs
        boxes = [i for i, output in enumerate(outputs) if len(output.shape) == 3 and output.shape[2] == 4]
        if len(boxes) != 1 or len(outputs) not in (2, 3):
            raise ModelError(f"boxes-scores needs {cls.layout}")
        anchors = outputs[boxes[0]].shape[1] or 0
        scores, classes = _scores(outputs, anchors)
        if not scores:
            raise ModelError(f"boxes-scores needs {cls.layout}; the anchors of all must be as many")
        name = outputs[boxes[0]].name
        box_format = option(options, "box_format", _FORMATS, [*_possible_formats(signature, name), *_FORMATS][0])
        box_unit = option(options, "box_unit", BOX_UNITS, "fraction" if signature.are_fractions(name) else "pixels")
        size = signature.width, signature.height
        assumptions = () if set(options) == set(cls.options) else (_assumption(box_format, box_unit),)
        return cls(*size, anchors, classes, assumptions, (boxes[0], *scores), box_format, box_unit)

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        """Also whether the values can be boxes: offsets from anchors that the graph leaves out look the same."""
        if not super().matches(signature):
            return False
        return bool(_possible_formats(signature, signature.outputs[cls.fit(signature, {}).places[0]].name))

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        boxes, scores, *classes = [outputs[place] for place in self.places]
        boxes = graft_xyxy(graft, boxes, self.box_format, self._unit)
        if classes:
            return Anchors(boxes, scores, classes[0])
        return Anchors(boxes, *best_class(graft, scores))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores, *classes = [outputs[place] for place in self.places]
        boxes = xyxy(boxes, self.box_format, self._unit)
        return boxes, one_hot(scores, classes[0].astype(int)) if classes else scores

    @property
    def _unit(self) -> Tuple[int, int]:
        return pixels_of(self.box_unit, self.width, self.height)


def _scores(outputs: Sequence[Tensor], anchors: int) -> Tuple[List[int], Optional[int]]:
    """Places of the scores (and of the classes), and how many classes there are; no place where they don't fit."""
    if len(outputs) == 2:
        for place, output in enumerate(outputs):
            if len(output.shape) == 3 and output.shape[1] == anchors and output.shape[2] != 4:
                return [place], output.shape[2]
        return [], None
    flat = [place for place, output in enumerate(outputs) if output.shape[1:] == (anchors,)]
    whole = [place for place in flat if "int" in outputs[place].dtype]
    return ([place for place in flat if place not in whole] + whole if len(flat) == 2 and len(whole) == 1 else []), None


def _possible_formats(signature: Signature, boxes: str) -> List[str]:
    """Those in which hardly a box that was seen has a side of less than 0."""
    seen = np.asarray(signature.values.get(boxes, np.zeros((1, 1, 4))), np.float32)
    sides = {"xyxy": seen[..., 2:] - seen[..., :2], "cxcywh": seen[..., 2:]}
    return [name for name, side in sides.items() if np.mean((side >= 0).all(axis=-1)) >= _MOST]


def _assumption(box_format: str, box_unit: str) -> str:
    return (
        f"boxes are taken as {box_format} in {box_unit}, as those of a black picture look: where the annotated picture "
        f"shows them wrong, set box_format ({' or '.join(_FORMATS)}) and box_unit ({' or '.join(BOX_UNITS)})"
    )
