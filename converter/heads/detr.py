"""DETR and its kin (RT-DETR, D-FINE, DEIM, RF-DETR): a fixed number of queries, each at most one object, no NMS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import Anchors, Head, Signature, best_class
from .boxes import graft_xyxy, option, xyxy

__all__ = ["DetrHead"]

_SCORINGS = ("sigmoid", "softmax")
_NO_OBJECT = ("none", "last")
#: COCO's category numbers, 0 to 90.
_COCO_NUMBERS = 91
_MAX_QUERIES = 1000
_ROUND_QUERIES = 100
#: The last step of every decoder's boxes: sigmoid (DETR, RT-DETR), exp (RF-DETR), the mean of a distribution (D-FINE).
_BOX_OPERATORS = frozenset(["Sigmoid", "Exp", "Softmax"])


@dataclass(frozen=True)
class DetrHead(Head):
    """Class scores [B, Q, C] and boxes [B, Q, 4] (centre and size, fractions of the input), or both in one output.

    A query is an anchor and reports its best class. The originals take the best of all Q x C pairs, so that a query may
    be reported as several classes, which AP rewards and nobody wants of a camera.
    """

    classes: int
    #: Places of scores and boxes among the outputs; the same twice where one output [B, Q, 4 + C] holds boxes first.
    places: Tuple[int, int]
    #: Scores a query: classes, and perhaps a last one of "no object".
    channels: int
    #: What turns the scores into probabilities, None where the graph does.
    activation: Optional[str]
    #: The input is normalised with ImageNet's mean and deviation.
    imagenet: bool

    family: ClassVar[str] = "detr"
    layout: ClassVar[str] = (
        "class logits [batch, queries, classes] and boxes [batch, queries, 4] (centre and size as fractions), named "
        "pred_logits and pred_boxes, logits and pred_boxes, or labels and dets; or both in one output, boxes first"
    )
    options: ClassVar[Tuple[str, ...]] = ("scoring", "no_object")

    @property
    def preset(self) -> str:
        return "detr-imagenet" if self.imagenet else "detr"

    @property
    def nms_iou(self) -> float:
        return 1.0

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> DetrHead:
        places, channels = _places(signature)
        outputs = [signature.outputs[place] for place in places]
        if channels < 1:
            raise ModelError(f"detr needs {cls.layout}")
        behind = signature.behind[outputs[0].name]
        seen = "softmax" if places[0] != places[1] and "Softmax" in behind else "sigmoid"
        scoring = option(options, "scoring", _SCORINGS, seen)
        rf_detr = outputs[1].name == "dets"
        # RF-DETR keeps a place for "no object", but for COCO, whose last category stands in it.
        keeps_place = scoring == "softmax" or (rf_detr and channels != _COCO_NUMBERS)
        no_object = option(options, "no_object", _NO_OBJECT, "last" if keeps_place else "none") == "last"
        if no_object and channels == 1:
            raise ModelError(f'detr needs {cls.layout}; the only score is taken as that of "no object"')
        activated = scoring.capitalize() in behind
        size = signature.width, signature.height
        return cls(
            *size,
            outputs[1].shape[1] or 0,
            channels - 1 if no_object else channels,
            _assumptions(rf_detr, no_object, "" if activated or options else scoring),
            places,
            channels,
            None if activated else scoring,
            rf_detr or scoring == "softmax",
        )

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        return super().matches(signature) and (_is_named(signature) or _computes_so(signature))

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        scores, boxes = outputs[self.places[0]], outputs[self.places[1]]
        if scores == boxes:
            boxes, scores = graft.split(boxes, (4, self.channels), 2)
        if self.activation == "softmax":
            scores = graft.add("Softmax", scores, axis=2)
        if self.classes < self.channels:
            scores, _ = graft.split(scores, (self.classes, 1), 2)
        best, classes = best_class(graft, scores)
        if self.activation == "sigmoid":  # of the best only: it keeps the order of the classes
            best = graft.add("Sigmoid", best)
        return Anchors(graft_xyxy(graft, boxes, "cxcywh", (self.width, self.height)), best, classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, boxes = (outputs[place].astype(np.float64) for place in self.places)
        if self.places[0] == self.places[1]:
            boxes, scores = boxes[:, :4], scores[:, 4:]
        if self.activation == "sigmoid":
            scores = 1 / (1 + np.exp(-scores))
        elif self.activation == "softmax":
            raised = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = raised / raised.sum(axis=1, keepdims=True)
        objects = scores[:, : self.classes]
        return xyxy(boxes, "cxcywh", (self.width, self.height)), objects.astype(np.float32)


def _places(signature: Signature) -> Tuple[Tuple[int, int], int]:
    """Places of scores and boxes, and the channels of the scores; 0 channels where the outputs are others."""
    outputs = signature.outputs
    if any(len(output.shape) != 3 for output in outputs) or len({output.shape[1] for output in outputs}) != 1:
        return (0, 0), 0
    if len(outputs) == 1:
        return (0, 0), (outputs[0].shape[2] or 0) - 4
    boxes = [place for place, output in enumerate(outputs) if output.shape[2] == 4]
    if len(boxes) == 2:  # four classes: the names decide
        boxes = [place for place in boxes if "box" in outputs[place].name or outputs[place].name == "dets"]
    if len(outputs) != 2 or len(boxes) != 1:
        return (0, 0), 0
    scores = 1 - boxes[0]
    return (scores, boxes[0]), outputs[scores].shape[2] or 0


def _is_named(signature: Signature) -> bool:
    """Whether the outputs have the names of DETR's, Hugging Face's or RF-DETR's exports."""
    names = {output.name for output in signature.outputs}
    return names in ({"pred_logits", "pred_boxes"}, {"logits", "pred_boxes"}, {"dets", "labels"})


def _computes_so(signature: Signature) -> bool:
    """Whether the operators, and the values where the model was run, are those of queries: fractions, and few."""
    (scores, boxes), _ = _places(signature)
    names = [signature.outputs[place].name for place in (scores, boxes)]
    if (signature.outputs[boxes].shape[1] or 0) > _MAX_QUERIES or signature.range_of(names[1], slice(4))[1] > 2:
        return False
    if scores == boxes:
        return _is_joined(signature)
    raw = not {"Sigmoid", "Softmax"} & signature.behind[names[0]]
    return raw and bool(_BOX_OPERATORS & signature.behind[names[1]])


def _is_joined(signature: Signature) -> bool:
    """Whether one output is that of Ultralytics' older RT-DETR: 300 queries, boxes and scores behind a sigmoid.

    [B, N, 6] with whole numbers last are rows of box, score and class: another family. So is what else is behind a
    TopK, unless its boxes are fractions: a TopK chooses the queries' first boxes too.
    """
    output = signature.outputs[0]
    behind = signature.behind[output.name]
    rows = "TopK" in behind and not signature.are_fractions(output.name)
    if output.shape[2] == 6:
        rows = signature.are_whole(output.name, slice(5, 6))
    return (output.shape[1] or 1) % _ROUND_QUERIES == 0 and "Sigmoid" in behind and not rows


def _assumptions(rf_detr: bool, no_object: bool, scoring: str) -> Tuple[str, ...]:
    """What the outputs don't tell; *scoring* is "" where they do, or the user."""
    if rf_detr:
        last = '"no object", as RF-DETR has it' if no_object else "a class, COCO's number 90"
        told = f"the last score is taken as {last}: else set --head-option no_object={'none' if no_object else 'last'}"
        return (told,) if scoring else ()
    if scoring != "sigmoid":
        return ()
    told = (
        "scores are taken as the sigmoid of the logits and the input as RGB in 0..1, as RT-DETR and D-FINE have them. "
        "Deformable DETR and its like want ImageNet's mean and deviation: --spec mean=0.485,0.456,0.406 --spec "
        'std=0.229,0.224,0.225; a classic DETR, whose last class is "no object", --head-option scoring=softmax'
    )
    return (told,)
