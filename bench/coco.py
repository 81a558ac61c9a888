"""Average precision on COCO's annotations, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Union

import cv2
import numpy as np

from sightd.types import Detections, Image

__all__ = ["evaluate"]

Detect = Callable[[List[Image]], List[Detections]]


def evaluate(detect: Detect, images_folder: Path, annotations: Path, batch: int) -> float:
    """AP at IoU .50:.95 over all pictures that *annotations* (COCO's instances format) names.

    :param detect: takes up to *batch* pictures ([H, W, 3] uint8 BGR); classes count COCO's categories from 0 by id.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO(str(annotations))
        categories = sorted(truth.getCatIds())
        results: List[Dict[str, Union[int, float, List[float]]]] = []
        for ids in _batches(sorted(truth.getImgIds()), batch):
            files = [images_folder / entry["file_name"] for entry in truth.loadImgs(ids)]
            for image_id, found in zip(ids, detect([_read(file) for file in files])):
                results += _rows(image_id, found, categories)
        if not results:
            return 0.0
        measured = COCOeval(truth, truth.loadRes(results), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return float(measured.stats[0])


def _batches(ids: Sequence[int], batch: int) -> Iterator[List[int]]:
    for start in range(0, len(ids), batch):
        yield list(ids[start : start + batch])


def _read(file: Path) -> Image:
    image = cv2.imread(str(file))
    if image is None:
        raise FileNotFoundError(file)
    return np.asarray(image, np.uint8)


def _rows(
    image_id: int, found: Detections, categories: Sequence[int]
) -> Iterator[Dict[str, Union[int, float, List[float]]]]:
    for (x1, y1, x2, y2), score, class_id in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist()):
        box = [x1, y1, x2 - x1, y2 - y1]
        yield {"image_id": image_id, "category_id": categories[class_id], "bbox": box, "score": score}
