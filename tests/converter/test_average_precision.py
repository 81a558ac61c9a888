"""Our mAP against pycocotools, which defines it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from converter.agreement.average_precision import average_precision, interpolated_precision
from converter.agreement.ground_truth import LabelledImage, read_ground_truth
from converter.model.labels import read_labels
from sightd.types import Detections


def labelled(rng: np.random.Generator, objects: int) -> LabelledImage:
    corners = rng.uniform(0, 300, (objects, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 150, (objects, 2))])
    return LabelledImage(Path(), boxes, rng.integers(0, 4, objects).astype(np.int32), rng.random(objects) < 0.15)


def guesses(rng: np.random.Generator, image: LabelledImage) -> Detections:
    """Every object twice, more or less off, some of a wrong class, and false alarms; scores with ties."""
    boxes = np.vstack([image.boxes, image.boxes, rng.uniform(0, 400, (6, 4))])
    boxes += rng.normal(0, 6, boxes.shape)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    wrong = rng.integers(0, 4, len(boxes))
    classes = np.where(rng.random(len(boxes)) < 0.2, wrong, np.concatenate([image.classes, image.classes, wrong[:6]]))
    scores = np.round(rng.random(len(boxes)), 1)
    order = np.argsort(-scores, kind="stable")
    return Detections(
        boxes[order].astype(np.float32), scores[order].astype(np.float32), classes[order].astype(np.int32)
    )


def by_pycocotools(truth: List[LabelledImage], found: List[Detections], tmp_path: Path) -> List[float]:
    rows: List[Dict[str, Any]] = []
    for number, image in enumerate(truth):
        for box, class_id, crowd in zip(image.boxes.tolist(), image.classes.tolist(), image.crowd.tolist()):
            rows.append(row(number, box, class_id, id=len(rows) + 1, iscrowd=int(crowd)))
    results = [
        row(number, box, class_id, score=score)
        for number, d in enumerate(found)
        for box, class_id, score in zip(d.boxes.tolist(), d.classes.tolist(), d.scores.tolist())
    ]
    images = [{"id": number} for number in range(len(truth))]
    categories = [{"id": number} for number in range(max(int(image.classes.max(initial=0)) for image in truth) + 1)]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        measured = COCOeval(coco, coco.loadRes(results), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return [float(measured.stats[0]), float(measured.stats[1])]


def row(image: int, box: List[float], class_id: int, **more: Any) -> Dict[str, Any]:
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1)
    return {"image_id": image, "category_id": class_id, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, **more}


@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_pycocotools_measures_with_crowds_ties_and_wrong_classes(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    truth = [labelled(rng, int(rng.integers(0, 9))) for _ in range(25)]
    found = [guesses(rng, image) for image in truth]
    measured = average_precision(truth, found)
    assert [measured.ap, measured.ap50] == pytest.approx(by_pycocotools(truth, found, tmp_path), abs=0.0005)
    assert 0.1 < measured.ap < 0.9


def test_it_is_what_pycocotools_measures_on_real_annotations(assets: Path, tmp_path: Path) -> None:
    truth = read_ground_truth(assets / "images/coco_val_dev100/instances.json", read_labels("coco80"))
    rng = np.random.default_rng(0)
    found = [guesses(rng, image) for image in truth]
    measured = average_precision(truth, found)
    assert measured.images == 100
    assert [measured.ap, measured.ap50] == pytest.approx(by_pycocotools(truth, found, tmp_path), abs=0.0005)


def test_labels_without_any_object_give_zero() -> None:
    empty = LabelledImage(Path(), np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, bool))
    assert average_precision([empty], [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int32))]).ap == 0.0


def test_average_precision_equals_the_textbook_example() -> None:
    # Four truths; found right, wrong, right, right: precision at recall .25 is 1, at .5 and .75 it is 3/4, then 0.
    right = np.array([[True, False, True, True]])
    expected = (26 * 1.0 + 50 * 0.75) / 101
    assert interpolated_precision(right, np.ones_like(right), 4)[0] == pytest.approx(expected)


def test_a_box_that_does_not_count_changes_nothing() -> None:
    right = np.array([[True, False, False, True]])
    counted = np.array([[True, False, True, True]])
    without = interpolated_precision(right[:, [0, 2, 3]], counted[:, [0, 2, 3]], 3)
    assert interpolated_precision(right, counted, 3) == pytest.approx(without)


def test_a_frame_that_is_drawn_twice_counts_as_two() -> None:
    once = np.array([[True, False, True]])
    twice = np.array([[True, True, False, True]])
    weighted = interpolated_precision(once, np.ones_like(once), 4, np.array([2.0, 1.0, 1.0]))
    assert weighted == pytest.approx(interpolated_precision(twice, np.ones_like(twice), 4), abs=0.02)
