"""FastestDet's AP by the ways to evaluate it: its reference figure is one of four, and they differ by a hundredth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List

import cv2
import numpy as np

from converter.model.finish import finish
from converter.model.labels import read_labels
from converter.model.session import Session
from sightd.nms import detections
from sightd.resize import resize_into
from sightd.types import Candidates, Detections, Image

from .assets import asset
from .coco import evaluate
from .models import MODELS
from .result import Result

__all__ = ["average_precision", "run"]

_MIN_SCORE, _IOU, _MAX_OBJECTS = 0.001, 0.45, 100
_BATCH = 4
#: Interpolation, class-wise NMS -> who has it so. Its authors' evaluation (utils/datasets.py, utils/tool.py:
#: batched_nms) is class-wise; their example for ONNX Runtime is class-blind, and resizes by area.
_WAYS = {
    ("area", True): "sightd",
    ("linear", True): "the authors' evaluation",
    ("area", False): "the authors' ONNX Runtime example (there IoU .35)",
    ("linear", False): "DESIGN's reference figure, .152",
}


def run(quick: bool) -> Result:
    """All four on coco_val_dev100, float, stretched to 352 x 352."""
    del quick
    figures: Dict[str, Any] = {}
    rows: List[List[Any]] = []
    for (interpolation, class_wise), whose in _WAYS.items():
        nms = "class-wise" if class_wise else "class-blind"
        ap = average_precision(interpolation, class_wise=class_wise)
        figures[f"{interpolation}_{nms}"] = round(ap, 4)
        rows.append([interpolation, nms, ap, whose])
    conditions = {"images": "coco_val_dev100", "nms_iou": _IOU, "min_score": _MIN_SCORE}
    return Result("fastestdet", figures, ["resize", "NMS", "AP", "as in"], rows, conditions)


def average_precision(interpolation: str, *, class_wise: bool) -> float:
    """AP at IoU .50:.95 of the finished float graph."""
    model = next(model for model in MODELS if model.name == "fastestdet")
    overrides = {"interpolation": interpolation}
    finished = finish(model.load(), labels=read_labels("coco80"), spec_overrides=overrides, candidates=484)
    session, spec = Session(finished.model), finished.spec

    def detect(images: List[Image]) -> List[Detections]:
        pixels = np.empty((len(images), spec.height, spec.width, 3), np.uint8)
        places = [resize_into(pixels[index], image, spec) for index, image in enumerate(images)]
        candidates = Candidates(*session.run(pixels))
        if not class_wise:
            candidates = _without_overlaps(candidates)
        return detections(candidates, places, min_score=_MIN_SCORE, iou=_IOU, max_objects=_MAX_OBJECTS)

    folder = asset("images/coco_val_dev100")
    return evaluate(detect, folder / "images", folder / "instances.json", _BATCH)


def _without_overlaps(candidates: Candidates) -> Candidates:
    """The same with the score of each box 0 that overlaps a better one of whatever class."""
    scores = np.zeros_like(candidates.scores)
    for kept, boxes, given in zip(scores, candidates.boxes, candidates.scores):
        sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        best = np.asarray(cv2.dnn.NMSBoxes(sizes.tolist(), given.tolist(), 0.0, _IOU), np.intp).reshape(-1)
        kept[best] = given[best]
    order = np.argsort(-scores, axis=1, kind="stable")
    rows = np.arange(len(order))[:, None]
    return replace(
        candidates,
        boxes=candidates.boxes[rows, order],
        scores=scores[rows, order],
        classes=candidates.classes[rows, order],
    )
