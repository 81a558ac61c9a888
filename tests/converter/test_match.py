from __future__ import annotations

import numpy as np
import pytest

from converter.agreement.match import COCO_IOUS, class_overlaps, iou_matrix, match
from sightd.types import Detections

HALF = np.array([0.5])


def boxes(*rows: tuple) -> np.ndarray:
    return np.array(rows, np.float32)


def test_iou_of_known_boxes() -> None:
    a = boxes((0, 0, 10, 10), (0, 0, 0, 0))
    b = boxes((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30))
    assert iou_matrix(a, b)[0].tolist() == pytest.approx([1, 1 / 3, 0])
    assert iou_matrix(a, b)[1].tolist() == [0, 0, 0]


def test_within_a_crowd_only_the_share_inside_counts() -> None:
    crowd = np.array([True])
    assert iou_matrix(boxes((0, 0, 10, 10)), boxes((5, 0, 1000, 1000)), crowd)[0, 0] == pytest.approx(0.5)


def test_boxes_of_different_classes_do_not_overlap() -> None:
    one = Detections(boxes((0, 0, 10, 10)), np.ones(1, np.float32), np.array([0], np.int32))
    other = Detections(one.boxes, one.scores, np.array([1], np.int32))
    assert class_overlaps(one, other)[0, 0] == 0
    assert class_overlaps(one, one)[0, 0] == 1


def test_each_true_box_is_taken_once_by_the_best_scored() -> None:
    overlaps = np.array([[0.9], [1.0]])
    assert match(overlaps, np.array([False]), HALF)[0].tolist() == [0, -1]


def test_a_stricter_overlap_leaves_the_true_box_to_the_next() -> None:
    overlaps = np.array([[0.6], [1.0]])
    taken = match(overlaps, np.array([False]))
    assert taken[0].tolist() == [0, -1]
    assert taken[-1].tolist() == [-1, 0]
    assert len(taken) == len(COCO_IOUS)


def test_an_ignored_box_is_taken_only_where_no_other_will_do() -> None:
    overlaps = np.array([[0.6, 0.9], [0.6, 0.9]])
    assert match(overlaps, np.array([False, True]), HALF)[0].tolist() == [0, 1]


def test_a_crowd_takes_any_number() -> None:
    overlaps = np.ones((3, 1))
    crowd = np.array([True])
    assert match(overlaps, crowd, HALF, crowd)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_matches_nothing(shape: tuple) -> None:
    assert (match(np.zeros(shape), np.zeros(shape[1], bool)) == -1).all()
