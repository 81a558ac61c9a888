"""SSD: boxes relative to default boxes (anchors), or decoded already, and class scores after one of background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import Anchors, Head, Signature, best_class
from .boxes import graft_corners, graft_xyxy, option, xyxy
from .ssd_anchors import GENERATORS, Boxes

__all__ = ["SsdHead"]

_SCORINGS = ("softmax", "sigmoid")
#: Of SSD300 with VGG16, whoever trained it.
_VGG_ANCHORS = 8732
#: What the offsets and the log sizes are divided by.
_CENTRE_SCALE, _SIZE_SCALE = 10.0, 5.0
#: No box grows larger than so many anchors (torchvision's bound, it keeps exp finite): more than any picture holds.
_MAX_LOG_SIZE = math.log(1000 / 16)


@dataclass(frozen=True)
class SsdHead(Head):
    """Boxes [B, A, 4] and scores [B, A, 1 + C].

    Encoded: centre = anchor centre + t / 10 * anchor size, size = exp(t / 5) * anchor size; t is x, y, w, h in
    torchvision, y, x, h, w in TensorFlow. Decoded: corners as fractions, scores behind a softmax, as pytorch-ssd
    (jetson-inference) has it.
    """

    #: Places of boxes and scores among the outputs.
    places: Tuple[int, int]
    #: A key of GENERATORS; None where the boxes are decoded.
    generator: Optional[str]
    #: What turns the scores into probabilities, None where the graph does.
    activation: Optional[str]

    family: ClassVar[str] = "ssd"
    layout: ClassVar[str] = (
        "boxes [batch, anchors, 4] and scores [batch, anchors, 1 + classes], background first; the boxes encoded, as "
        "many as TensorFlow's or torchvision's SSD has at this input, or corners as fractions with softmaxed scores"
    )
    options: ClassVar[Tuple[str, ...]] = ("anchors", "scoring")

    @property
    def preset(self) -> str:
        if self.anchors == _VGG_ANCHORS:
            return "ssd-vgg"
        return "ssd-pytorch" if self.generator is None else "ssd"

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> SsdHead:
        outputs = signature.outputs
        places = _places(signature)
        if not places:
            raise ModelError(f"ssd needs {cls.layout}")
        boxes, scores = (outputs[place] for place in places)
        anchors = boxes.shape[1] or 0
        decoded = "anchors" not in options and "Exp" in signature.behind[boxes.name]
        generator = None if decoded else _generator(signature, anchors, options)
        scoring = option(options, "scoring", _SCORINGS, "sigmoid" if generator == "tensorflow" else "softmax")
        activated = bool({"Softmax", "Sigmoid"} & signature.behind[scores.name])
        assumptions = () if decoded or "anchors" in options else (_assumption(str(generator)),)
        size = signature.width, signature.height
        classes = (scores.shape[2] or 0) - 1
        return cls(*size, anchors, classes, assumptions, places, generator, None if activated else scoring)

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        if not super().matches(signature):
            return False
        boxes, scores = (signature.outputs[place].name for place in _places(signature) or ())
        if "Exp" in signature.behind[boxes]:
            return "Softmax" in signature.behind[scores] and signature.range_of(boxes)[1] <= 2
        return not {"Sigmoid", "Softmax", "Tanh"} & signature.behind[boxes]

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        boxes, scores = (outputs[place] for place in self.places)
        if self.activation:
            activation = {"axis": 2} if self.activation == "softmax" else {}
            scores = graft.add(self.activation.capitalize(), scores, **activation)
        _, scores = graft.split(scores, (1, self.classes or 0), 2)
        return Anchors(self._graft_boxes(graft, boxes), *best_class(graft, scores))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = (outputs[place].astype(np.float64) for place in self.places)
        if self.activation == "softmax":
            raised = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = raised / raised.sum(axis=1, keepdims=True)
        elif self.activation == "sigmoid":
            scores = 1 / (1 + np.exp(-scores))
        pixels = self.width, self.height
        objects = scores[:, 1:].astype(np.float32)
        if self.generator is None:
            return xyxy(boxes.reshape(-1, 4), "xyxy", pixels), objects
        a, b, c, d = boxes.reshape(-1, 4).T
        tx, ty, tw, th = (b, a, d, c) if self.generator == "tensorflow" else (a, b, c, d)
        cx, cy, w, h = self._anchors().T
        sizes = [side * np.exp(np.minimum(t / _SIZE_SCALE, _MAX_LOG_SIZE)) for side, t in ((w, tw), (h, th))]
        centres = [cx + tx / _CENTRE_SCALE * w, cy + ty / _CENTRE_SCALE * h]
        return xyxy(np.stack([*centres, *sizes], axis=1), "cxcywh", pixels), objects

    def _graft_boxes(self, graft: Graft, boxes: str) -> str:
        """Corners [N, A, 4] in input pixels."""
        flat = graft.constant(np.array([-1, self.anchors, 4], np.int64))
        boxes = graft.add("Reshape", boxes, flat)
        if self.generator is None:
            return graft_xyxy(graft, boxes, "xyxy", (self.width, self.height))
        if self.generator == "tensorflow":
            boxes = graft.add("Gather", boxes, graft.constant(np.array([1, 0, 3, 2], np.int64)), axis=2)
        shift, growth = graft.split(boxes, (2, 2), 2)
        anchors = (self._anchors() * [self.width, self.height, self.width, self.height])[None].astype(np.float32)
        centres, sizes = anchors[:, :, :2], anchors[:, :, 2:]
        moved = graft.add("Mul", shift, graft.constant(sizes / np.float32(_CENTRE_SCALE)))
        grown = graft.add("Mul", growth, graft.constant(np.array(1 / _SIZE_SCALE, np.float32)))
        bound = graft.add("Min", grown, graft.constant(np.array(_MAX_LOG_SIZE, np.float32)))
        size = graft.add("Mul", graft.add("Exp", bound), graft.constant(sizes))
        return graft_corners(graft, graft.add("Add", moved, graft.constant(centres)), size)

    def _anchors(self) -> Boxes:
        boxes = GENERATORS[str(self.generator)](self.width, self.height)
        if boxes is None:
            raise AssertionError("fit() has seen them")
        return boxes


def _places(signature: Signature) -> Optional[Tuple[int, int]]:
    """Places of boxes and scores; None where the outputs are others."""
    outputs = signature.outputs
    boxes = [place for place, output in enumerate(outputs) if output.shape[2:] in ((4,), (1, 4))]
    if len(boxes) == 2:  # three classes and background: the names decide
        boxes = [place for place in boxes if any(part in outputs[place].name.lower() for part in ("box", "loc"))]
    if len(outputs) != 2 or len(boxes) != 1:
        return None
    scores = outputs[1 - boxes[0]]
    if len(scores.shape) != 3 or scores.shape[1] != outputs[boxes[0]].shape[1] or (scores.shape[2] or 0) < 2:
        return None
    return boxes[0], 1 - boxes[0]


def _generator(signature: Signature, anchors: int, options: Mapping[str, str]) -> str:
    """The one that makes as many anchors, or the one that was named.

    :raises ModelError: none does.
    """
    made = {name: make(signature.width, signature.height) for name, make in GENERATORS.items()}
    counts = {name: len(boxes) for name, boxes in made.items() if boxes is not None}
    allowed: List[str] = [name for name, count in counts.items() if count == anchors]
    if "anchors" in options:
        allowed = [name for name in allowed if name == option(options, "anchors", list(GENERATORS), "")]
    if len(allowed) != 1:
        known = ", ".join(f"{count} ({name})" for name, count in counts.items())
        raise ModelError(
            f"ssd: {anchors} anchors at {signature.width}x{signature.height} are those of no generator here, which "
            f"make {known}: export the model with its boxes decoded"
        )
    return allowed[0]


def _assumption(generator: str) -> str:
    return (
        f"the anchors are taken as those of the published {generator} model, which has as many: where the annotated "
        "picture shows boxes of the wrong size, the model was trained with others: export it with its boxes decoded"
    )
