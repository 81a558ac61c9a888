"""A finished model and its calibration on a few pictures, for builders that are called by themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import AbstractSet, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from converter.builders.base import Calibration
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import Ranges, collect_ranges
from converter.int8.ranges_file import load_ranges, ranges_key, save_ranges
from converter.int8.sensitivity import rank_layers
from converter.int8.targets import TENSORRT
from converter.model.finish import FinishedModel
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from sightd.errors import CalibrationError
from sightd.resize import resize_into
from sightd.types import Image, InputSpec

__all__ = ["Calibrated", "calibrated"]

_RANKING_PICTURES = 2
_RANGES, _RANKED = "ranges.npz", "ranked.json"


@dataclass(frozen=True)
class Calibrated:
    """What ``Builder.build_int8`` wants."""

    model: onnx.ModelProto
    calibration: Calibration
    #: Prediction layers and decoding.
    head: AbstractSet[str]
    #: The other layers, those that INT8 damages most first; empty where they were not ranked.
    ranked: Sequence[str]

    def floats(self, float_layers: int) -> Set[str]:
        """What stays float: the head, and so many of the most damaged layers."""
        return {*self.head, *self.ranked[:float_layers]}


def calibrated(
    finished: FinishedModel, images: Sequence[Image], *, rank: bool = False, kept: Optional[Path] = None
) -> Calibrated:
    """*finished*, simplified, with the ranges that its tensors have on *images*.

    :param rank: try each layer in INT8 alone, for :meth:`Calibrated.floats`.
    :param kept: a folder in which the work of minutes is found by a later call.
    """
    model = simplify(finished.model)
    head = head_nodes(model)

    def inputs() -> Iterator[NDArray[np.uint8]]:
        return (_input(image, finished.spec) for image in images)

    digest = hashlib.sha256()
    for image in images:  # before the resizing, which differs in the last bit from processor to processor
        digest.update(image.tobytes())
    key = ranges_key(model, digest.hexdigest(), finished.spec)

    def measure() -> Tuple[Ranges, List[str]]:
        ranges = collect_ranges(model, watched_tensors(model, head), inputs())
        return ranges, _ranked(model, ranges, head, list(islice(inputs(), _RANKING_PICTURES))) if rank else []

    ranges, ranked = measure() if kept is None else _found(kept, key) or _keep(kept, key, *measure())
    return Calibrated(model, Calibration(ranges, inputs, len(images), key), head, ranked)


def _ranked(
    model: onnx.ModelProto, ranges: Ranges, head: AbstractSet[str], inputs: Sequence[NDArray[np.uint8]]
) -> List[str]:
    damaged = rank_layers(
        model,
        ranges,
        layers(model, head),
        head,
        inputs,
        algorithm="percentile-99.999",
        target=TENSORRT,
        on_layer=lambda: None,
    )
    return [one.layer for one in damaged]


def _found(folder: Path, key: str) -> Optional[Tuple[Ranges, List[str]]]:
    """What an earlier call left there, None where there is nothing or something else's."""
    try:
        return load_ranges(folder / _RANGES, key), json.loads((folder / _RANKED).read_text("utf-8"))
    except (CalibrationError, OSError):
        return None


def _keep(folder: Path, key: str, ranges: Ranges, ranked: List[str]) -> Tuple[Ranges, List[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    save_ranges(folder / _RANGES, ranges, key)
    (folder / _RANKED).write_text(json.dumps(ranked), "utf-8")
    return ranges, ranked


def _input(image: Image, spec: InputSpec) -> NDArray[np.uint8]:
    pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
    resize_into(pixels[0], image, spec)
    return pixels
