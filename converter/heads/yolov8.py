"""YOLOv8 and what is built like it (v9, v11, v12, v10 and 26 without their own selection): decoded boxes and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, FrozenSet, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import SELECTING, Anchors, Head, Signature, best_class, has_ones
from .boxes import graft_corners
from .grids import anchors_a_cell, beside_maps

__all__ = ["Yolov8Head"]


@dataclass(frozen=True)
class Yolov8Head(Head):
    """[B, 4 + C, A], or [B, A, 4 + C]: centre and size in input pixels, class scores sigmoid'd, no objectness."""

    classes: int
    #: The output's place among all.
    place: int
    channels_last: bool

    family: ClassVar[str] = "yolov8"
    layout: ClassVar[str] = (
        "one output [batch, 4 + classes, anchors] or [batch, anchors, 4 + classes] behind a sigmoid, "
        "as many anchors as the grids of strides 8, 16, 32 (and 64, or 4) have cells"
    )

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> Yolov8Head:
        size = signature.width, signature.height
        place = beside_maps(*size, signature.outputs)
        if place is None:
            raise ModelError(f"yolov8 needs {cls.layout}")
        output = signature.outputs[place]
        behind = signature.behind[output.name]
        # [B, A, 4 + C] could be YOLOX or YOLOv6 as well; what has selected already is none of them.
        of_this_family = has_distances(behind) and not has_ones(signature, output.name)
        activated = "Sigmoid" in behind and not SELECTING & behind
        for last, (anchors, channels) in ((False, output.shape[:0:-1]), (True, output.shape[1:])):
            fits = anchors_a_cell(*size, anchors) == 1 and (channels or 0) > 4
            # There may be as many channels as a grid has cells: scores then are where nothing leaves 0..1.
            fits = fits and signature.are_scores(output.name, slice(4, None), axis=2 if last else 1)
            if fits and activated and (of_this_family or not last):
                return cls(*size, anchors or 0, (channels or 0) - 4, (), place, last)
        raise ModelError(f"yolov8 needs {cls.layout}; at {signature.width}x{signature.height} input, this is {output}")

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        rows = outputs[self.place]
        if not self.channels_last:
            rows = graft.add("Transpose", rows, perm=[0, 2, 1])
        centre, size, scores = graft.split(rows, (2, 2, self.classes), 2)
        return Anchors(graft_corners(graft, centre, size), *best_class(graft, scores))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = outputs[self.place] if self.channels_last else outputs[self.place].T
        cx, cy, w, h = rows[:, :4].T
        return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1), rows[:, 4:]


def has_distances(behind: FrozenSet[str]) -> bool:
    """Whether boxes were made of distances to their sides, as in this family, and not of a log size, as in YOLOX.

    A Softmax is that of a distribution focal loss (DFL); without one the left and upper side are still subtracted.
    """
    return "Softmax" in behind or ("Sub" in behind and "Exp" not in behind)
