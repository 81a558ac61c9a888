"""Which layers INT8 hurts, found by trying: each alone in INT8, its detections against the float model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import AbstractSet, Callable, List, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from sightd import nms
from sightd.types import Candidates, Detections, Placement

from .agree import iou_matrix
from .quantize import quantize
from .ranges import Ranges
from .session import Session
from .targets import Target

__all__ = ["Damage", "damage", "rank_layers"]

#: Low, so that a few frames hold many boxes; what happens to faint ones tells as much.
_MIN_SCORE, _IOU = 0.05, 0.45


@dataclass(frozen=True)
class Damage:
    """What INT8 in one layer alone does to the detections."""

    layer: str
    #: 0: nothing changed; 1: nothing is left of them.
    value: float


def rank_layers(
    model: onnx.ModelProto,
    ranges: Ranges,
    layers: Sequence[str],
    head: AbstractSet[str],
    inputs: Sequence[NDArray[np.uint8]],
    *,
    algorithm: str,
    target: Target,
    on_layer: Callable[[], None],
) -> List[Damage]:
    """All of *layers* of the finished *model*, the most damaging first.

    :param head: nodes that stay float in any case.
    :param inputs: a few pictures as the engine gets them, [1, H, W, 3] uint8.
    :param on_layer: called after each.
    """
    truth = _detections(model, inputs)
    everything = head | set(layers)
    ranked = []
    for layer in layers:
        alone = quantize(
            model, ranges, algorithm=algorithm, float_nodes=everything - {layer}, scope="conv", target=target
        )
        ranked.append(Damage(layer, damage(truth, _detections(alone, inputs))))
        on_layer()
    return sorted(ranked, key=lambda one: -one.value)


def damage(truth: Sequence[Detections], found: Sequence[Detections]) -> float:
    """The share of the scores of both that the other does not have: box, class or score differ."""
    lost = sum(_lost(one, other) + _lost(other, one) for one, other in zip(truth, found))
    total = sum(float(one.scores.sum() + other.scores.sum()) for one, other in zip(truth, found))
    return lost / total if total else 0.0


def _lost(truth: Detections, found: Detections) -> float:
    """The score of *truth* that *found* lacks; a box is there as far as IoU and score ratio go."""
    if not len(truth) or not len(found):
        return float(truth.scores.sum())
    low = np.minimum(truth.scores[:, None], found.scores[None])
    high = np.maximum(truth.scores[:, None], found.scores[None])
    same_class = truth.classes[:, None] == found.classes[None]
    there = (iou_matrix(truth.boxes, found.boxes) * same_class * low / high).max(axis=1)
    return float((truth.scores * (1 - there)).sum())


def _detections(model: onnx.ModelProto, inputs: Sequence[NDArray[np.uint8]]) -> List[Detections]:
    session = Session(model)
    found = []
    for pixels in inputs:
        height, width = pixels.shape[1:3]
        place = Placement(1.0, 1.0, 0.0, 0.0, width, height)
        found += nms.detections(Candidates(*session.run(pixels)), [place], min_score=_MIN_SCORE, iou=_IOU)
    return found
