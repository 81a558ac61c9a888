"""Which layers INT8 hurts, found by trying: each alone in INT8, against the float model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import AbstractSet, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from sightd import nms
from sightd.types import Candidates, Detections, Placement

from ..agreement.match import iou_matrix
from ..model.graph import OUR_PREFIX, constants
from ..model.session import Session
from .quantize import quantize
from .ranges import Ranges
from .targets import Target

__all__ = ["Damage", "damage", "rank_layers", "sqnr_db"]

#: Low, so that a few frames hold many boxes; what happens to faint ones tells as much.
_MIN_SCORE, _IOU = 0.05, 0.45
#: A finished graph's outputs, in its order.
_FINISHED = ("boxes", "scores", "classes")
_MOST_DB = 120.0


@dataclass(frozen=True)
class Damage:
    """What INT8 in one layer alone does to the detections, and to what the model itself puts out."""

    layer: str
    #: The layer's operator in ONNX.
    operator: str
    #: 0: nothing changed; 1: nothing is left of the detections.
    damage: float
    #: The model's own output, before decoding -> signal to quantisation noise, 120 at most.
    output_sqnr_db: Mapping[str, float]

    @property
    def sqnr_db(self) -> float:
        """Of the output that suffers most."""
        return min(self.output_sqnr_db.values(), default=_MOST_DB)


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
    watched, outputs = _with_own_outputs(model)
    truth = _run(watched, inputs)
    operators = {node.name: node.op_type for node in model.graph.node}
    everything = head | set(layers)
    ranked = []
    for layer in layers:
        alone = quantize(
            watched, ranges, algorithm=algorithm, float_nodes=everything - {layer}, scope="conv", target=target
        )
        found = _run(alone, inputs)
        noise = {name: sqnr_db(truth.outputs[name], found.outputs[name]) for name in outputs}
        ranked.append(Damage(layer, operators[layer], damage(truth.detections, found.detections), noise))
        on_layer()
    return sorted(ranked, key=lambda one: -one.damage)


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


def sqnr_db(signal: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> float:
    """Power of *signal* over that of the difference, over all arrays, in decibels; 120 at most."""
    power = sum(float(np.square(one, dtype=np.float64).sum()) for one in signal)
    noise = sum(float(np.square(one - other, dtype=np.float64).sum()) for one, other in zip(signal, found))
    if noise <= power * 10 ** (-_MOST_DB / 10):
        return _MOST_DB
    return 10 * math.log10(max(power, 1e-30) / noise)


@dataclass(frozen=True)
class _Seen:
    """What a model makes of the inputs."""

    detections: List[Detections]
    #: The model's own outputs, one array an input.
    outputs: Dict[str, List[NDArray[np.float32]]]


def _run(model: onnx.ModelProto, inputs: Sequence[NDArray[np.uint8]]) -> _Seen:
    session = Session(model)
    names = [value.name for value in model.graph.output][len(_FINISHED) :]
    seen = _Seen([], {name: [] for name in names})
    for pixels in inputs:
        height, width = pixels.shape[1:3]
        place = Placement(1.0, 1.0, 0.0, 0.0, width, height)
        boxes, scores, classes, *outputs = session.run(pixels)
        seen.detections.extend(
            nms.detections(Candidates(boxes, scores, classes), [place], min_score=_MIN_SCORE, iou=_IOU)
        )
        for name, output in zip(names, outputs):
            seen.outputs[name].append(output)
    return seen


def _with_own_outputs(model: onnx.ModelProto) -> Tuple[onnx.ModelProto, List[str]]:
    """*model* with the tensors that decoding starts from as further outputs, and their names."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    ours = [node for node in model.graph.node if node.name.startswith(OUR_PREFIX)]
    made = {tensor for node in model.graph.node for tensor in node.output} - set(constants(model.graph))
    made -= {tensor for node in ours for tensor in node.output}
    names = list(dict.fromkeys(tensor for node in ours for tensor in node.input if tensor in made))
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return watched, names
