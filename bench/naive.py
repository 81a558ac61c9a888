"""INT8 as it is done when nobody looks: every layer, the prediction layers too, ranges from the extremes."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from converter.agree import Agreement, Thresholds
from converter.builders.onnxruntime import KIND, build_int8
from converter.finish import FinishedModel
from converter.frames import read_frames
from converter.gate import Gate
from converter.graph import OUR_PREFIX
from converter.int8_plan import watched_tensors
from converter.progress import Silent
from converter.ranges import collect_ranges
from converter.reference import Reference
from converter.search import Recipe
from sightd.bundle import OutputSpec
from sightd.resize import resize_into

__all__ = ["naive_int8"]


def naive_int8(
    finished: FinishedModel, unfinished: onnx.ModelProto, calibration: Path, file: Path
) -> Tuple[Path, Agreement]:
    """The engine, written to *file*, and what the gate says of it."""
    frames = read_frames(calibration, count=512, holdout=200, seed=0)
    ours = {node.name for node in finished.model.graph.node if node.name.startswith(OUR_PREFIX)}
    inputs = (_input(image, finished) for image in frames.images(frames.calibration))
    ranges = collect_ranges(finished.model, watched_tensors(finished.model, ours), inputs)
    build_int8(finished.model, ranges, Recipe("minmax", "all", 0), ours, file)
    gate = Gate.open(
        Reference(unfinished, finished.spec, finished.head),
        lambda: frames.images(frames.holdout),
        len(frames.holdout),
        finished.spec,
        OutputSpec(),
        Thresholds(),
        [1],
        Silent(),
    )
    return file, gate.judge(KIND, file, "naive INT8")


def _input(image: NDArray[np.uint8], finished: FinishedModel) -> NDArray[np.uint8]:
    pixels = np.empty((1, finished.spec.height, finished.spec.width, 3), np.uint8)
    resize_into(pixels[0], image, finished.spec)
    return pixels
