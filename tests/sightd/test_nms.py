from __future__ import annotations

from typing import Sequence

import numpy as np
import pytest

from sightd import nms
from sightd.types import Candidates, Detections, Placement

SAME = Placement(1.0, 1.0, 0.0, 0.0, 640, 480)


def run(rows: Sequence[tuple], *, min_score: float = 0.1, iou: float = 0.45, max_objects: int = 100) -> Detections:
    """NMS of one picture; each row is x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    candidates = Candidates(table[None, :, :4], table[None, :, 4], table[None, :, 5].astype(np.int32))
    return nms.detections(candidates, [SAME], min_score=min_score, iou=iou, max_objects=max_objects)[0]


def slow_reference(rows: np.ndarray, iou: float) -> list:
    """Class-wise greedy NMS as the textbook has it; the indices kept, best first."""
    kept: list = []
    for i in np.argsort(-rows[:, 4], kind="stable"):
        for j in kept:
            if rows[i, 5] != rows[j, 5]:
                continue
            low, high = np.maximum(rows[i, :2], rows[j, :2]), np.minimum(rows[i, 2:4], rows[j, 2:4])
            inter = np.clip(high - low, 0, None).prod()
            union = (rows[i, 2:4] - rows[i, :2]).prod() + (rows[j, 2:4] - rows[j, :2]).prod() - inter
            if inter / union > iou:
                break
        else:
            kept.append(int(i))
    return kept


def test_no_candidate_gives_no_object() -> None:
    found = run([(0, 0, 10, 10, 0.05, 0)])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_of_two_overlapping_boxes_of_a_class_the_better_one_stays() -> None:
    found = run([(0, 0, 100, 100, 0.8, 3), (5, 5, 100, 100, 0.9, 3)])
    assert found.scores.tolist() == [pytest.approx(0.9)]


def test_at_an_iou_of_1_all_boxes_stay_even_the_same_twice() -> None:
    same = [
        (10.3, 20.7, 110.9, 93.1, 0.9, 0),
        (10.3, 20.7, 110.9, 93.1, 0.8, 0),
        (5, 5, 5, 5, 0.7, 0),
        (5, 5, 5, 5, 0.6, 0),
    ]
    assert run(same, iou=1.0).scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_overlapping_boxes_of_different_classes_both_stay() -> None:
    found = run([(0, 0, 100, 100, 0.8, 0), (0, 0, 100, 100, 0.9, 79)])
    assert found.classes.tolist() == [79, 0]


def test_no_more_than_max_objects_are_returned_best_first() -> None:
    rows = [(20 * i, 0, 20 * i + 10, 10, 0.5 + i / 100, 0) for i in range(20)]
    found = run(rows, max_objects=3)
    assert found.scores.tolist() == pytest.approx([0.69, 0.68, 0.67])


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_textbook_on_random_boxes_with_negative_corners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-50, 400, (300, 2))
    rows = np.concatenate(
        [corner, corner + rng.uniform(1, 150, (300, 2)), rng.random((300, 1)), rng.integers(0, 80, (300, 1))], 1
    )
    rows = rows.astype(np.float32)
    expected = [float(rows[i, 4]) for i in slow_reference(rows, 0.45) if rows[i, 4] >= 0.1]
    assert run(list(map(tuple, rows)), max_objects=300).scores.tolist() == pytest.approx(expected)


def test_each_picture_of_a_batch_is_returned_in_its_own_source_pixels() -> None:
    boxes = np.tile(np.array([[[10, 10, 20, 20]]], np.float32), (2, 1, 1))
    candidates = Candidates(boxes, np.full((2, 1), 0.9, np.float32), np.zeros((2, 1), np.int32))
    doubled = Placement(0.5, 0.5, 0.0, 0.0, 640, 480)
    first, second = nms.detections(candidates, [SAME, doubled], min_score=0.1, iou=0.5)
    assert first.boxes.tolist() == [[10, 10, 20, 20]]
    assert second.boxes.tolist() == [[20, 20, 40, 40]]
