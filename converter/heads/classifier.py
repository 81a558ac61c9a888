"""Classifiers: a score for each class of the whole picture; the daemon gives them crops of what a detector found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from sightd.errors import ModelError
from sightd.manifest import CLASSIFIER

from ..model.graft import Graft
from .base import Anchors, Head, Signature

__all__ = ["ClassifierHead"]

_ACTIVATIONS = ("softmax", "sigmoid", "none")
#: A single output of two axes that comes from these is a list of boxes.
_BOXES = {"NonMaxSuppression", "TopK"}
_INPUT = (
    "unless --spec or the model's metadata (as Ultralytics writes it) says otherwise, the input is taken as "
    "torchvision's classifiers have it: stretched, RGB, ImageNet's mean and std"
)


@dataclass(frozen=True)
class ClassifierHead(Head):
    """[B, C] logits or probabilities; every class is an anchor whose box is the whole input."""

    classes: int
    #: What makes probabilities of the output.
    activation: str

    family: ClassVar[str] = CLASSIFIER
    layout: ClassVar[str] = "one output [batch, classes] or [batch, classes, 1, 1], logits or probabilities"
    options: ClassVar[Tuple[str, ...]] = ("activation",)
    #: Crops are small, and one frame has many.
    max_batch: ClassVar[int] = 32

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> ClassifierHead:
        shapes = [output.shape for output in signature.outputs]
        if len(shapes) != 1 or len(shapes[0]) not in (2, 4) or set(shapes[0][2:]) - {1} or (shapes[0][1] or 0) < 2:
            raise ModelError(f"classifier needs {cls.layout}")
        (output,) = signature.outputs
        behind = signature.behind[output.name]
        if "int" in output.dtype or behind & _BOXES:
            raise ModelError(f"classifier needs {cls.layout}; this is a list of boxes")
        activated = bool(behind & {"Softmax", "Sigmoid"})
        activation = options.get("activation", "none" if activated else "softmax")
        if activation not in _ACTIVATIONS:
            raise ModelError(f"head option activation is {activation!r}, must be one of {', '.join(_ACTIVATIONS)}")
        assumptions = [_INPUT]
        if not activated and "activation" not in options:
            assumptions.append(
                "the scores are taken as logits of classes that exclude each other (softmax); where they do not: "
                "--head-option activation=sigmoid, and where they are probabilities: --head-option activation=none"
            )
        classes = output.shape[1] or 0
        return cls(signature.width, signature.height, classes, classes, tuple(assumptions), activation)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        scores = graft.add("Reshape", outputs[0], graft.constant(np.array([-1, self.classes], np.int64)))
        if self.activation == "softmax":
            scores = graft.add("Softmax", scores, axis=1)
        elif self.activation == "sigmoid":
            scores = graft.add("Sigmoid", scores)
        # Boxes and classes are constants, but as many rows as the batch has pictures are known only at run time.
        zeros = graft.add("Mul", scores, graft.constant(np.array(0, np.float32)))
        names = graft.add("Add", zeros, graft.constant(np.arange(self.classes, dtype=np.float32)[None]))
        columns = graft.add("Unsqueeze", zeros, graft.constant(np.array([2], np.int64)))
        boxes = graft.add("Add", columns, graft.constant(self._whole()[None, None]))
        return Anchors(boxes, scores, graft.add("Cast", names, to=TensorProto.INT32))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        values = outputs[0].reshape(-1).astype(np.float64)
        if self.activation == "softmax":
            values = np.exp(values - values.max())
            values /= values.sum()
        elif self.activation == "sigmoid":
            values = 1 / (1 + np.exp(-values))
        return self._whole()[None].repeat(self.classes, axis=0), np.diag(values).astype(np.float32)

    def _whole(self) -> NDArray[np.float32]:
        return np.array([0, 0, self.width, self.height], np.float32)
