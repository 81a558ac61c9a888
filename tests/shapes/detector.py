"""The trained detector of coloured shapes, and how its detections are held against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence, Tuple

import numpy as np

from converter.agreement.match import iou_matrix, match

from .drawing import LABELS
from .scene import ShapeTruth

__all__ = ["MODEL", "Found", "Rates", "rates"]

#: Made by train.py; README.md tells how it was trained and what it reaches.
MODEL = Path(__file__).with_name("shapes.onnx")

#: A box that the detector found: its label, and x1, y1, x2, y2 in pixels.
Found = Tuple[str, Sequence[float]]


@dataclass(frozen=True)
class Rates:
    """How detections compare with the truth, over some frames.

    A match is of the same class and at least .5 IoU. What lies on a hard object counts neither way, whatever its class:
    of half a shape nobody can tell which it is.
    """

    #: Objects that are to be found, those that are hard left out.
    wanted: int
    #: How many of them were.
    matched: int
    #: Detections that match nothing and lie on nothing hard.
    wrong: int
    #: The mean IoU of the matches: a box that is a little off everywhere shows here.
    iou: float

    @property
    def recall(self) -> float:
        return self.matched / self.wanted

    @property
    def precision(self) -> float:
        return self.matched / (self.matched + self.wrong)


def rates(frames: Iterable[Tuple[Sequence[ShapeTruth], Sequence[Found]]]) -> Rates:
    """Of pairs of a frame's truth and what was found on it, best first."""
    wanted, wrong, ious = 0, 0, []
    for truth, found in frames:
        hard = np.array([one.hard for one in truth], bool)
        overlaps = _overlaps(truth, found, hard)
        taken = match(overlaps, hard, np.array([0.5]), crowd=hard)[0]
        right = [(row, place) for row, place in enumerate(taken) if place >= 0 and not hard[place]]
        ious += [overlaps[row, place] for row, place in right]
        wanted += int((~hard).sum())
        wrong += int((taken < 0).sum())
    return Rates(wanted, len(ious), wrong, float(np.mean(ious)) if ious else 0.0)


def _overlaps(truth: Sequence[ShapeTruth], found: Sequence[Found], hard: np.ndarray) -> np.ndarray:
    """[len(found), len(truth)] IoU, 0 between different classes; with a hard object the share of the box within it."""
    boxes = np.array([box for _, box in found], np.float64).reshape(-1, 4)
    true = np.array([one.box for one in truth], np.float64).reshape(-1, 4)
    same = np.array([[LABELS[one.class_id] == label for one in truth] for label, _ in found], bool)
    return np.where(same.reshape(len(found), len(truth)) | hard, iou_matrix(boxes, true, hard), 0.0)
