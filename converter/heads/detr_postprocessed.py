"""RT-DETR, D-FINE and DEIM as their deploy scripts export them: labels, boxes and scores, the best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from .base import Anchors, Head, Signature
from .boxes import one_hot

__all__ = ["DetrPostprocessedHead"]


@dataclass(frozen=True)
class DetrPostprocessedHead(Head):
    """labels [B, N] (integers), boxes [B, N, 4] (corners in input pixels), scores [B, N], the N best of all pairs.

    The input ``orig_target_sizes``, which scales the boxes, has become a constant (converter.model.inputs). A query may
    be among the N with several classes: the export has it so.
    """

    #: Places of labels, boxes and scores among the outputs.
    places: Tuple[int, int, int]

    family: ClassVar[str] = "detr-postprocessed"
    layout: ClassVar[str] = (
        "labels [batch, n] (integers), boxes [batch, n, 4] and scores [batch, n] behind a TopK, and an input "
        "orig_target_sizes that scales the boxes"
    )

    @property
    def nms_iou(self) -> float:
        return 1.0

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> DetrPostprocessedHead:
        outputs = signature.outputs
        whole = [place for place, output in enumerate(outputs) if "int" in output.dtype and len(output.shape) == 2]
        boxes = [place for place, output in enumerate(outputs) if len(output.shape) == 3 and output.shape[2] == 4]
        flat = [place for place, output in enumerate(outputs) if len(output.shape) == 2 and place not in whole]
        if len(outputs) != 3 or not len(whole) == len(boxes) == len(flat) == 1:
            raise ModelError(f"detr-postprocessed needs {cls.layout}")
        if len({output.shape[1] for output in outputs}) != 1:
            raise ModelError(f"detr-postprocessed needs {cls.layout}; as many of each")
        size = signature.width, signature.height
        return cls(*size, outputs[flat[0]].shape[1] or 0, None, (), (whole[0], boxes[0], flat[0]))

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        return super().matches(signature) and any("TopK" in behind for behind in signature.behind.values())

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        labels, boxes, scores = (outputs[place] for place in self.places)
        return Anchors(boxes, scores, labels)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        labels, boxes, scores = (outputs[place] for place in self.places)
        return boxes, one_hot(scores, labels.astype(int))
