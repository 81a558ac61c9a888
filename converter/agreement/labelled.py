"""Real mAP of an engine file on labelled pictures, along the daemon's own path."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.types import InputSpec

from ..progress import Progress
from .average_precision import AveragePrecision, average_precision
from .ground_truth import LabelledImage, read_labelled_image
from .measure import detect

__all__ = ["label_precision"]

#: COCO's own evaluation takes everything down to this score.
_MIN_SCORE = 0.001


def label_precision(
    truth: Sequence[LabelledImage], kind: str, file: Path, spec: InputSpec, output: OutputSpec, progress: Progress
) -> AveragePrecision:
    """MAP of the engine in *file* on the pictures of *truth*, at most 100 boxes a picture.

    :raises CalibrationError: a picture can't be read.
    """
    with load_engine(kind, file, spec, 1, EngineOptions()) as engine, progress.stage(
        f"{file.stem} on the labelled pictures", len(truth)
    ) as step:
        found = detect(engine, map(read_labelled_image, truth), output, _MIN_SCORE, on_image=step)
    return average_precision(truth, found)
