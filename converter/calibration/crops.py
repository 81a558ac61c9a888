"""Crops to convert a classifier on: what a detector finds in a calibration set, cut out as the daemon does."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import Dict, FrozenSet, List, Optional, Sequence

import cv2
import numpy as np

from sightd.bundle import open_bundle
from sightd.calibration_entries import read_entries, read_image
from sightd.crops import crop
from sightd.engines import Engine, EngineOptions
from sightd.errors import CalibrationError, ModelError
from sightd.manifest import CLASSIFIER, Manifest
from sightd.serving import open_serving
from sightd.types import Image

from ..agreement.measure import detect
from ..progress import Progress
from .cameras import of_cameras

__all__ = ["write_crops"]


def write_crops(
    detector: Path,
    calibration: Path,
    out: Path,
    progress: Progress,
    *,
    objects: Sequence[str] = (),
    cameras: Sequence[str] = (),
    min_size: int = 24,
    max_per_frame: int = 8,
) -> Dict[str, int]:
    """Write a folder of pictures at *out*, one folder a camera, and return how many of each camera.

    :param detector: bundle of the model that finds the objects.
    :param objects: its labels; none stands for all.
    :param cameras: take their frames only; none stands for all.
    :param min_size: pixels of an object's shorter side.
    :param max_per_frame: the largest are taken.
    :raises BundleError, EngineError: the detector can't be opened.
    :raises ModelError: it has no such label, or is a classifier.
    :raises CalibrationError: the set can't be read, *out* is not empty, or nothing was found.
    """
    if out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None):
        raise CalibrationError(f"{out}: is no empty folder; name a new one")
    entries = of_cameras(read_entries(calibration), cameras)
    serving = open_serving(open_bundle(detector), EngineOptions())
    if serving.manifest.head == CLASSIFIER:
        raise ModelError(f"{detector}: is a classifier; name the bundle of the detector that finds its objects")
    wanted = _indices(objects, serving.manifest.labels)
    written: Counter[str] = Counter()
    with serving.engine as engine, progress.stage("objects in the frames", len(entries)) as step:
        for place, entry in enumerate(entries):
            found = _objects(engine, serving.manifest, read_image(calibration, entry), wanted, min_size)
            for rank, picture in enumerate(found[:max_per_frame]):
                _write(out / entry.camera / f"{place:06}-{rank}.png", picture)
                written[entry.camera] += 1
            step()
    if not written:
        raise CalibrationError(
            f"{calibration}: no such object in {len(entries)} frames; capture more, or allow smaller"
        )
    return dict(written)


def _objects(
    engine: Engine, manifest: Manifest, image: Image, wanted: Optional[FrozenSet[int]], min_size: int
) -> List[Image]:
    """The objects in one frame, the largest first."""
    (found,) = detect(engine, [image], manifest.output, manifest.output.min_score)
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    order = np.argsort(-sides.prod(axis=1), kind="stable")
    return [
        crop(image, found.boxes[index])
        for index in order
        if sides[index].min() >= min_size and (wanted is None or int(found.classes[index]) in wanted)
    ]


def _indices(objects: Sequence[str], labels: Sequence[str]) -> Optional[FrozenSet[int]]:
    for label in objects:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(labels)}"
            raise ModelError(f"the detector has no label {label!r}; {hint}")
    return frozenset(labels.index(label) for label in objects) or None


def _write(file: Path, picture: Image) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(file), picture)
    except OSError as error:
        raise CalibrationError(f"{file}: can't be written ({error.strerror}); name another folder") from error
    if not written:
        raise CalibrationError(f"{file}: can't be written; is the disk full?")
