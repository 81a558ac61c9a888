"""What a head family is: how it is recognised, decoded in the graph, and decoded again in NumPy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, FrozenSet, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError
from sightd.manifest import OutputSpec, Profile

from ..model.graft import Graft
from ..model.graph import Tensor

__all__ = ["SELECTING", "Anchors", "Head", "Signature", "best_class", "has_ones"]

#: Behind an output of these the model has chosen already: a row is an object, not an anchor.
SELECTING = frozenset(["ArgMax", "TopK"])
#: No box in fractions of the input reaches that far beyond it.
_MOST_FRACTION = 2


@dataclass(frozen=True)
class Signature:
    """All that a head may know of a model."""

    #: Input pixels.
    width: int
    height: int
    #: The outputs in the graph's order, shapes as seen in a run; the first dimension is the batch.
    outputs: Tuple[Tensor, ...]
    #: For each output, by name, the operators between the last convolutions and it.
    behind: Mapping[str, FrozenSet[str]]
    #: For each output, by name, what a black picture made of it, [1, ...]; empty where the model was not run.
    values: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def range_of(self, output: str, columns: slice = slice(None), axis: int = -1) -> Tuple[float, float]:
        """The least and the greatest value seen in *output*, in *columns* of that axis; 0 and 0 if none was."""
        seen = np.moveaxis(self.values.get(output, np.zeros((1, 1, 1))), axis, -1)[..., columns]
        return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)

    def are_scores(self, output: str, columns: slice, axis: int = -1) -> bool:
        """Whether *columns* of *output* were seen in 0..1, or not at all."""
        lowest, highest = self.range_of(output, columns, axis)
        return lowest >= 0 and highest <= 1

    def are_whole(self, output: str, columns: slice) -> bool:
        """Whether *columns* of *output* were seen as whole numbers, classes for instance, or not at all."""
        seen = np.asarray(self.values.get(output, np.zeros(1))[..., columns], np.float64)
        return bool((seen == np.round(seen)).all())

    def are_fractions(self, output: str) -> bool:
        """Whether the boxes that *output* begins with were seen as fractions of the input, give or take one."""
        return 0 < self.range_of(output, slice(4))[1] <= _MOST_FRACTION


@dataclass(frozen=True)
class Anchors:
    """Names of the tensors that a head leaves in the graph, A anchors a picture."""

    #: [N, A, 4] float32, x1 y1 x2 y2 in input pixels.
    boxes: str
    #: [N, A] float32, of the best class.
    scores: str
    #: [N, A], the best class; any integer type.
    classes: str


@dataclass(frozen=True)
class Head(ABC):
    """One model's outputs, understood. Made by :meth:`fit`; outputs are handed over in the graph's order."""

    #: The name for ``--head`` and the manifest.
    family: ClassVar[str]
    #: The outputs that the family expects, one line for people.
    layout: ClassVar[str]
    #: Names of the options that :meth:`fit` takes.
    options: ClassVar[Tuple[str, ...]] = ()
    #: Any family's outputs may look so: recognised only where no other family fits.
    general: ClassVar[bool] = False

    #: Largest batch that engines are built for.
    max_batch: ClassVar[int] = Profile().max

    #: Input pixels.
    width: int
    height: int
    #: Anchors a picture.
    anchors: int
    #: Classes, None where the outputs don't tell.
    classes: Optional[int]
    #: What was taken for granted without evidence in the graph: a sentence each, for people.
    assumptions: Tuple[str, ...]

    @property
    def preset(self) -> str:
        """The key in converter.model.presets.PRESETS of the input that such models are usually trained with."""
        return self.family

    @property
    def nms_iou(self) -> float:
        """The manifest's IoU for NMS on the host; 1.0 is none, for models that find each object once."""
        return OutputSpec().nms_iou

    @classmethod
    @abstractmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> Head:
        """The head of a model with these outputs.

        :raises ModelError: the outputs or the options are not this family's.
        """

    @abstractmethod
    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        """Add the decoding of the tensors named *outputs* to *graft*, for any batch."""

    @abstractmethod
    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The reference's decoding, written independently of :meth:`graft`.

        :param outputs: of the unfinished model for one picture, without the batch dimension.
        :return: boxes [A, 4] in input pixels and scores [A, C].
        """

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        """Whether the outputs are this family's as they are, without options."""
        try:
            cls.fit(signature, {})
        except ModelError:
            return False
        return True


def best_class(graft: Graft, scores: str) -> Tuple[str, str]:
    """From class scores [N, A, C] the best score and its class, each [N, A]."""
    best = graft.add("ReduceMax", scores, axes=[2], keepdims=0)
    return best, graft.add("ArgMax", scores, axis=2, keepdims=0)


def has_ones(signature: Signature, output: str) -> bool:
    """Whether every row of *output* [B, A, 5 + C] has 1 for its objectness: it is a constant, as in YOLOv6."""
    return signature.range_of(output, slice(4, 5)) == (1, 1)
