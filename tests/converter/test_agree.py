from __future__ import annotations

import json
from dataclasses import replace
from typing import List

import numpy as np
import pytest
from numpy.typing import NDArray

from converter.agreement.agree import Agreement, agreement
from converter.agreement.thresholds import Thresholds
from sightd.calibration_entries import Entry
from sightd.settings import AgreementSettings
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
    assert "precision" in result.reason


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


def entries(cameras: List[str]) -> List[Entry]:
    return [
        Entry(f"{place}.jpg", camera, float(place), 640, 480, 100.0, "", "", "") for place, camera in enumerate(cameras)
    ]


def without(found: Detections, keep: NDArray[np.bool_]) -> Detections:
    return Detections(found.boxes[keep], found.scores[keep], found.classes[keep])


def jittered(found: Detections, pixels: float) -> Detections:
    noise = np.random.default_rng(len(found)).uniform(-pixels, pixels, found.boxes.shape)
    return replace(found, boxes=(found.boxes + noise).astype(np.float32))


def test_boxes_that_lie_a_little_off_show_in_ap_before_they_do_in_ap50() -> None:
    truth = scenes()
    result = judge(truth, [jittered(d, 8) for d in truth])
    assert result.ap50 == 1.0
    assert result.ap < 0.85


def test_a_limit_that_follows_the_noise_is_told_in_four_digits() -> None:
    truth = scenes()
    off = [jittered(d, 8) for d in truth]
    limits = Thresholds(min_evidence=100, min_ap=0.98765432)
    assert "(>= 0.9877 needed)" in agreement(truth, off, limits).reason


def test_damage_below_the_reported_scores_shows_in_ap_alone() -> None:
    truth = [with_one_more(d, (9000, 0, 9100, 100, 0.2, 0)) for d in scenes()]
    result = judge(truth, scenes())
    assert result.recall == 1.0
    assert result.ap == pytest.approx(150 / 180, abs=0.01)


def test_one_lost_class_among_many_is_named() -> None:
    truth = scenes(frames=200)
    rare = [replace(d, classes=np.where(np.arange(len(d)) == 0, 7, d.classes % 2).astype(np.int32)) for d in truth]
    rare = [without(d, (d.classes != 7) | (index % 8 == 0)) for index, d in enumerate(rare)]
    result = agreement(
        rare,
        [without(d, d.classes != 7) for d in rare],
        Thresholds(min_recall=0.9, min_ap=0.8),
        labels=["person", "car", "", "", "", "", "", "dog"],
    )
    assert result.verdict == "disagrees"
    assert result.reason == "class dog: recall 0.000 of 25 boxes (>= 0.8 needed)"
    assert {row.name: row.evidence for row in result.classes}["dog"] == 25


def test_one_ruined_camera_among_many_is_named() -> None:
    truth = scenes(frames=120)
    cameras = ["yard" if index % 15 == 0 else f"front{index % 2}" for index in range(120)]
    found = [without(d, np.arange(len(d)) > 1) if c == "yard" else d for d, c in zip(truth, cameras)]
    result = agreement(truth, found, THRESHOLDS, entries=entries(cameras))
    assert result.verdict == "disagrees"
    assert result.reason == "camera yard: recall 0.600 of 40 boxes (>= 0.85 needed)"


def test_a_class_with_few_boxes_is_reported_but_not_judged() -> None:
    truth = scenes()
    rare = with_one_more(truth[0], (9000, 0, 9100, 100, 0.9, 5))
    result = judge([rare, *truth[1:]], truth)
    assert result.agrees
    assert {row.name: row.recall for row in result.classes}["5"] == 0.0


def test_a_figure_that_passes_by_luck_of_the_frames_is_no_pass() -> None:
    truth = scenes(frames=16)
    found = [without(d, np.zeros(len(d), bool)) if index == 3 else d for index, d in enumerate(truth)]
    loose = Thresholds(min_evidence=50, min_recall=0.93, interval_slack=0.0)
    result = agreement(truth, found, loose)
    assert result.recall == pytest.approx(75 / 80)
    assert result.verdict == "insufficient-evidence"
    assert "too uncertain" in result.reason
    assert result.intervals["recall"][0] < 0.93 < result.intervals["recall"][1]


def test_scores_that_all_shift_disagree_even_when_every_box_is_found() -> None:
    truth = scenes()
    shifted = [replace(d, scores=d.scores - np.float32(0.06)) for d in truth]
    result = judge(truth, shifted)
    assert result.recall == 1.0
    assert result.verdict == "disagrees"
    assert "scores shifted by -0.060" in result.reason
    assert sum(result.shift_counts) == 150
    assert (result.shift_p5, result.shift_p95) == pytest.approx((-0.06, -0.06), abs=1e-3)


def test_the_worst_frames_come_first_and_are_named() -> None:
    truth = scenes()
    found = [without(d, np.arange(len(d)) > 2) if index == 7 else d for index, d in enumerate(truth)]
    found[9] = with_one_more(found[9], (9000, 0, 9100, 100, 0.9, 0))
    worst = agreement(truth, found, THRESHOLDS, entries=entries(["front"] * 30)).worst
    assert [(one.frame, one.file, one.missed, one.extra) for one in worst[:2]] == [
        (7, "7.jpg", 3, 0),
        (9, "9.jpg", 0, 1),
    ]
    assert worst[0].ap50 == pytest.approx(0.4, abs=0.01)


def test_all_of_it_can_be_written_as_json() -> None:
    truth = scenes()
    data = json.loads(json.dumps(agreement(truth, truth, THRESHOLDS, entries=entries(["front"] * 30)).as_dict()))
    assert data["intervals"]["recall"] == [1.0, 1.0]
    assert data["cameras"][0]["name"] == "front"
    assert data["worst"][0]["file"] == "0.jpg"


def test_the_same_frames_give_the_same_intervals() -> None:
    truth = scenes()
    found = [jittered(d, 10) for d in truth]
    assert judge(truth, found) == judge(truth, found)


def test_the_thresholds_are_those_of_the_settings_file() -> None:
    settings = AgreementSettings(min_ap=0.5)
    assert vars(Thresholds.from_settings(settings)) == settings.model_dump()
    assert vars(Thresholds()) == AgreementSettings().model_dump()


def test_what_a_brittle_models_float_build_misses_is_asked_of_no_candidate() -> None:
    floor = {"ap": 0.9, "ap50": 0.97, "recall": 0.99, "precision": 1.0, "matched_iou": 0.98}
    limits = Thresholds(min_ap=0.82, min_ap50=0.9, min_recall=0.96, min_precision=0.97, min_matched_iou=0.9)
    lowered = limits.lowered(floor)
    assert lowered.min_ap == pytest.approx(0.72)
    assert lowered.min_ap50 == pytest.approx(0.87)
    assert lowered.min_precision == pytest.approx(0.97)
    assert lowered.max_score_shift == limits.max_score_shift
    truth = scenes()
    assert agreement(truth, truth, lowered).needed["ap"] == pytest.approx(0.72)
