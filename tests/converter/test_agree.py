from __future__ import annotations

from dataclasses import replace
from typing import List

import numpy as np
import pytest

from converter.agree import Agreement, Thresholds, agreement, interpolated_precision, iou_matrix, match
from sightd.types import Detections

THRESHOLDS = Thresholds(min_evidence=50)


def detections(rows: list) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def scenes(frames: int = 30, boxes: int = 5) -> List[Detections]:
    """Boxes far apart, of three classes, scored 0.45 to 0.95."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(frames):
        rows = []
        for i in range(boxes):
            x, y = 200 * i + rng.uniform(0, 50), rng.uniform(0, 50)
            rows.append((x, y, x + 100, y + 100, rng.uniform(0.45, 0.95), rng.integers(0, 3)))
        found.append(detections(rows))
    return found


def judge(reference: List[Detections], candidate: List[Detections]) -> Agreement:
    return agreement(reference, candidate, THRESHOLDS)


def test_the_reference_agrees_with_itself_perfectly() -> None:
    truth = scenes()
    result = judge(truth, truth)
    assert result.agrees
    assert (result.ap50, result.recall, result.extra) == (1.0, 1.0, 0.0)
    assert result.matched_iou == pytest.approx(1.0)
    assert result.score_shift == pytest.approx(0.0)
    assert result.evidence == 150


def test_a_dead_detector_disagrees() -> None:
    result = judge(scenes(), [detections([])] * 30)
    assert result.verdict == "disagrees"
    assert (result.ap50, result.recall) == (0.0, 0.0)


def test_a_dead_reference_proves_nothing_whatever_the_candidate_finds() -> None:
    for candidate in ([detections([])] * 30, scenes()):
        assert judge([detections([])] * 30, candidate).verdict == "insufficient-evidence"


def test_too_few_reference_boxes_are_no_pass_even_when_all_match() -> None:
    truth = scenes(frames=5)
    result = judge(truth, truth)
    assert result.verdict == "insufficient-evidence"
    assert "capture" in result.reason


def test_no_frame_at_all_is_insufficient() -> None:
    assert judge([], []).verdict == "insufficient-evidence"


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (lambda d: replace(d, classes=(d.classes + 1) % 3), "recall"),
        (lambda d: replace(d, boxes=d.boxes * np.float32(1.5)), "recall"),
        (lambda d: replace(d, scores=d.scores * np.float32(0.4)), "recall"),
        (lambda d: replace(d, boxes=d.boxes + np.float32(15)), "matched IoU"),
    ],
    ids=["class swapped", "boxes scaled", "scores shrunk", "boxes shifted"],
)
def test_a_systematic_fault_is_named(fault, complaint: str) -> None:
    truth = scenes()
    result = judge(truth, [fault(d) for d in truth])
    assert result.verdict == "disagrees"
    assert complaint in result.reason


def test_a_class_that_is_lost_disagrees() -> None:
    truth = scenes()
    lost = [Detections(d.boxes[d.classes != 1], d.scores[d.classes != 1], d.classes[d.classes != 1]) for d in truth]
    assert not judge(truth, lost).agrees


def test_boxes_that_nothing_explains_are_counted_a_frame() -> None:
    truth = scenes()
    result = judge(truth, [with_one_more(d, (5000, 5000, 5100, 5100, 0.9, 0)) for d in truth])
    assert result.extra == 1.0
    assert "extra boxes" in result.reason


def test_a_box_near_the_threshold_may_flip_either_way() -> None:
    truth = [with_one_more(d, (9000, 0, 9100, 100, 0.31, 0)) for d in scenes()]
    below = [replace(d, scores=np.where(d.scores < 0.32, np.float32(0.29), d.scores)) for d in truth]
    assert judge(truth, below).recall == 1.0
    assert judge(below, truth).extra == 0.0


def with_one_more(found: Detections, row: tuple) -> Detections:
    more = detections([row])
    return Detections(
        np.concatenate([found.boxes, more.boxes]),
        np.concatenate([found.scores, more.scores]),
        np.concatenate([found.classes, more.classes]),
    )


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert iou_matrix(a, b)[0].tolist() == pytest.approx([1, 1 / 3, 0])
    assert iou_matrix(a, b)[1].tolist() == [0, 0, 0]


def test_each_reference_box_is_matched_once_by_the_best_scored_candidate() -> None:
    truth = detections([(0, 0, 100, 100, 0.9, 0)])
    found = detections([(0, 0, 100, 90, 0.8, 0), (0, 0, 100, 100, 0.7, 0)])
    indices, ious = match(truth, found, 0.5)
    assert indices.tolist() == [0, -1]
    assert ious[0] == pytest.approx(0.9)


def test_average_precision_equals_the_textbook_example() -> None:
    # Four truths; found right, wrong, right, right: precision at recall .25 is 1, at .5 and .75 it is 3/4, then 0.
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, False, True, True])
    expected = (26 * 1.0 + 50 * 0.75) / 101
    assert interpolated_precision(scores, right, 4) == pytest.approx(expected)
