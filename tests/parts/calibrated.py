"""A finished model and its calibration on a few pictures, for builders that are called by themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import Iterator, List, Sequence, Set

import numpy as np
import onnx
from numpy.typing import NDArray

from converter.builders.base import Calibration
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import collect_ranges
from converter.int8.ranges_file import ranges_key
from converter.int8.sensitivity import Damage, rank_layers
from converter.int8.targets import TENSORRT
from converter.model.finish import FinishedModel
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from sightd.resize import resize_into
from sightd.types import Image, InputSpec

__all__ = ["Calibrated", "calibrated"]

_RANKING_PICTURES = 2


@dataclass(frozen=True)
class Calibrated:
    """What ``Builder.build_int8`` wants."""

    model: onnx.ModelProto
    calibration: Calibration
    #: What stays float: prediction layers, decoding, and the layers that INT8 damages most.
    floats: Set[str]


def calibrated(finished: FinishedModel, images: Sequence[Image], float_layers: int = 0) -> Calibrated:
    """*finished*, simplified, with the ranges that its tensors have on *images*.

    :param float_layers: how many of the most damaged layers stay float beside the head.
    """
    model = simplify(finished.model)
    head = head_nodes(model)

    def inputs() -> Iterator[NDArray[np.uint8]]:
        return (_input(image, finished.spec) for image in images)

    digest = hashlib.sha256()
    for pixels in inputs():
        digest.update(pixels.tobytes())
    ranges = collect_ranges(model, watched_tensors(model, head), inputs())
    key = ranges_key(model, digest.hexdigest(), finished.spec)
    ranked: List[Damage] = []
    if float_layers:
        some = list(islice(inputs(), _RANKING_PICTURES))
        ranked = rank_layers(
            model,
            ranges,
            layers(model, head),
            head,
            some,
            algorithm="percentile-99.999",
            target=TENSORRT,
            on_layer=lambda: None,
        )
    floats = head | {one.layer for one in ranked[:float_layers]}
    return Calibrated(model, Calibration(ranges, inputs, len(images), key), floats)


def _input(image: Image, spec: InputSpec) -> NDArray[np.uint8]:
    pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
    resize_into(pixels[0], image, spec)
    return pixels
