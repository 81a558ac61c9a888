from __future__ import annotations

import itertools
from typing import List, Optional, Sequence, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daemon.tracking import Tracker
from daemon.tracking.matching import best_pairs, overlaps
from sightd.types import Detections

MIN_SCORE = 0.3
#: Centre x and y, width, height, in pixels.
Box = Tuple[float, float, float, float]


def found(boxes: Sequence[Box], scores: Optional[Sequence[float]] = None, classes: Sequence[int] = ()) -> Detections:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    corners = np.concatenate([table[:, :2] - table[:, 2:] / 2, table[:, :2] + table[:, 2:] / 2], axis=1)
    given_scores = np.full(len(table), 0.8) if scores is None else scores
    given_classes = list(classes) or [0] * len(table)
    return Detections(corners, np.array(given_scores, np.float32), np.array(given_classes, np.int32))


def new_tracker() -> Tracker:
    return Tracker(itertools.count(1))


def followed(frames: Sequence[Tuple[float, Detections]], lost_after_s: float = 3.0) -> List[List[int]]:
    """The ids in each of *frames*, pairs of its time and what was found."""
    tracker, ids = new_tracker(), []
    for at, detections in frames:
        tracker.forget(at - lost_after_s)
        ids.append(tracker.update(detections, at, MIN_SCORE))
    return ids


def test_what_moves_on_stays_the_same_and_what_comes_is_another() -> None:
    ids = followed([(0.1 * k, found([(100 + 8 * k, 100, 40, 80), (400, 300 - 5 * k, 60, 60)])) for k in range(20)])
    assert ids == [[1, 2]] * 20
    assert followed([(0.0, found([(100, 100, 40, 80)])), (0.1, found([(400, 100, 40, 80)]))]) == [[1], [2]]


def test_the_order_of_the_detections_does_not_matter() -> None:
    ids = followed([(0.1 * k, found([(100, 100, 40, 40), (300, 100, 40, 40)][:: 1 - 2 * (k % 2)])) for k in range(6)])
    assert ids == [[1, 2], [2, 1]] * 3


def test_two_that_cross_keep_their_ids() -> None:
    """They meet in the middle, where their boxes are the same; only the motion tells them apart."""
    frames = [(0.1 * k, found([(100 + 20 * k, 200, 50, 100), (500 - 20 * k, 210, 50, 100)])) for k in range(21)]
    assert followed(frames) == [[1, 2]] * 21


@pytest.mark.parametrize("hidden", [1, 5, 15])
def test_one_that_was_hidden_for_a_while_is_found_where_it_should_be_by_then(hidden: int) -> None:
    """It moves by a third of its width a frame: were it expected where it vanished, it would soon be another."""
    places = [(100.0 + 20 * k, 200.0, 60.0, 60.0) for k in range(40)]
    frames = [(0.1 * k, found([place] if not 15 <= k < 15 + hidden else [])) for k, place in enumerate(places)]
    assert {identity for ids in followed(frames) for identity in ids} == {1}


def test_time_counts_and_not_the_number_of_frames() -> None:
    """The same way, of whose frames a third is dropped at random: 5 to 15 a second are left."""
    random = np.random.default_rng(0)
    kept = [k for k in range(60) if k < 5 or random.random() > 0.5]
    frames = [(k / 15, found([(100 + 25 * k, 200, 60, 60)])) for k in kept]
    assert max(np.diff(kept)) >= 3, "so that it moves by more than its width at once"
    assert followed(frames) == [[1]] * len(kept)


def test_two_frames_of_the_same_moment_and_a_step_back_are_no_trouble() -> None:
    frames = [(at, found([(100, 100, 40, 40)])) for at in (1.0, 1.0, 0.9, 1.1)]
    assert followed(frames) == [[1]] * 4


def test_five_frames_a_second_are_enough_for_what_moves_by_its_own_width_a_frame() -> None:
    ids = followed([(0.2 * k, found([(50 + 40 * k, 100, 40, 80)])) for k in range(20)])
    assert ids == [[1]] * 20


def test_after_a_gap_of_the_camera_nothing_goes_on() -> None:
    there = found([(100, 100, 40, 40)])
    assert followed([(0.0, there), (2.9, there), (6.0, there)]) == [[1], [1], [2]]


def test_another_class_is_another_object_at_the_same_place() -> None:
    box = [(100.0, 100.0, 40.0, 40.0)]
    assert followed([(0.1 * k, found(box, classes=[k % 2])) for k in range(4)]) == [[1], [2], [1], [2]]


def test_it_may_grow_and_shrink() -> None:
    sizes = [40 * 1.12 ** (k if k < 20 else 40 - k) for k in range(40)]
    ids = followed([(0.1 * k, found([(300, 300, size, size)])) for k, size in enumerate(sizes)])
    assert max(sizes) > 8 * min(sizes)
    assert ids == [[1]] * 40


def test_what_scores_too_low_to_be_reported_goes_on_with_a_track_but_begins_none() -> None:
    box = [(100.0, 100.0, 40.0, 40.0)]
    low, high = found(box, [0.2]), found(box, [0.5])
    assert followed([(0.0, low), (0.1, high), (0.2, low), (0.3, high)]) == [[0], [1], [1], [1]]


def test_what_scores_too_low_does_not_prolong_a_life() -> None:
    box = [(100.0, 100.0, 40.0, 40.0)]
    ids = followed([(0.0, found(box)), *((0.1 * k, found(box, [0.2])) for k in range(1, 40))])
    assert ids == [[1]] * 31 + [[0]] * 9


def test_of_two_for_one_track_the_reported_one_is_it() -> None:
    both = found([(104, 100, 40, 40), (100, 100, 40, 40)], [0.5, 0.2])
    assert followed([(0.0, found([(100, 100, 40, 40)])), (0.1, both)]) == [[1], [1, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 3, 4])
def test_what_is_not_finite_has_no_track_and_harms_no_other(bad: float, column: int) -> None:
    tracker = new_tracker()
    tracker.update(found([(100, 100, 40, 40), (300, 100, 40, 40)]), 0.0, MIN_SCORE)
    broken = found([(100, 100, 40, 40), (300, 100, 40, 40)])
    (broken.boxes[0] if column < 4 else broken.scores)[column % 4] = bad
    assert tracker.update(broken, 0.1, MIN_SCORE) == [0, 2]
    assert tracker.update(found([(100, 100, 40, 40), (300, 100, 40, 40)]), 0.2, MIN_SCORE) == [1, 2]
    assert np.isfinite([(track.motion.x, track.motion.y) for track in tracker.tracks]).all()


def test_a_box_that_was_cut_to_nothing_at_the_edge_is_followed_too() -> None:
    assert followed([(0.1 * k, found([(640, 100, 0, 40)])) for k in range(3)]) == [[1]] * 3


def test_hundreds_are_followed_at_once() -> None:
    places = [(60 + 90 * column, 60 + 90 * row, 50, 50) for row in range(20) for column in range(20)]
    random = np.random.default_rng(1)
    for ids in followed(
        [(0.1 * k, found([(x + 9 * k, y + random.normal(), w, h) for x, y, w, h in places])) for k in range(5)]
    ):
        assert ids == list(range(1, 401))


def test_a_storm_of_false_boxes_is_forgotten_early_and_who_is_there_is_not() -> None:
    random, tracker = np.random.default_rng(2), new_tracker()
    for k in range(60):
        noise = [(*random.uniform((100, 100), (1900, 1000)), 9, 9) for _ in range(99)]
        tracker.forget(0.1 * k - 60.0)
        assert len(tracker.tracks) <= 600
        assert tracker.update(found([(40, 40, 60, 60), *noise]), 0.1 * k, MIN_SCORE)[0] == 1


def test_trackers_of_several_cameras_share_no_id_and_nothing_else() -> None:
    ids, there = itertools.count(1), found([(100, 100, 40, 40)])
    one, other = Tracker(ids), Tracker(ids)
    assert [one.update(there, 0.0, MIN_SCORE), other.update(there, 0.0, MIN_SCORE)] == [[1], [2]]
    assert [one.update(there, 0.1, MIN_SCORE), other.update(there, 0.1, MIN_SCORE)] == [[1], [2]]


def test_what_stands_is_stationary_after_a_while_and_counts_when_it_moves_on() -> None:
    tracker, told = new_tracker(), []
    for k in range(120):
        place = 100 + 20 * max(0, k - 60)
        tracker.update(found([(place, 100, 60, 60)]), 0.1 * k, MIN_SCORE)
        (track,) = tracker.tracks
        told.append((track.stationary, track.stillness.position_changes))
    assert told[29] == (False, 0)
    assert told[31] == told[60] == (True, 0)
    assert told[70] == told[-1] == (False, 1)


NUMBERS = st.one_of(st.floats(0, 1000, width=32), st.sampled_from([0.0, 5.0, 1e9, float("nan"), float("inf")]))
FRAMES = st.lists(
    st.tuples(
        st.floats(-0.5, 2.0),
        st.integers(0, 8).flatmap(lambda n: arrays(np.float32, (n, 5), elements=NUMBERS)),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_whatever_comes_a_track_has_one_detection_a_frame_and_no_id_comes_twice(
    frames: List[Tuple[float, np.ndarray]],
) -> None:
    tracker, at, gone = new_tracker(), 10.0, set()
    for step, rows in frames:
        at += step
        gone |= {track.id for track in tracker.forget(at - 3.0)}
        detections = Detections(rows[:, :4], rows[:, 4] / 1000, np.arange(len(rows), dtype=np.int32) % 2)
        ids = np.array(tracker.update(detections, at, MIN_SCORE))
        given_ids = ids[ids > 0].tolist()
        assert len(set(given_ids)) == len(given_ids)
        assert not gone & set(given_ids)
        usable = np.isfinite(rows).all(axis=1) & (detections.scores >= MIN_SCORE)
        assert (ids[usable] > 0).all(), "what is reported has a track"
        assert (np.diff([track.id for track in tracker.tracks]) > 0).all()
        for track in tracker.tracks:
            motion = track.motion
            assert np.isfinite([*track.box, *(getattr(motion, name) for name in motion.__slots__)]).all()


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(0, 6), st.integers(0, 6)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.5, 1.0]))
    )
)
def test_the_pairs_are_those_of_the_greedy_choice(similarity: np.ndarray) -> None:
    found = [(-similarity[row, column], row, column) for row, column in np.argwhere(similarity >= 0.2).tolist()]
    pairs = best_pairs(found[::-1])
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    assert len(set(rows)) == len(set(columns)) == len(pairs)
    left, greedy = np.where(similarity >= 0.2, similarity, 0.0), []
    while left.any():
        row, column = (int(place) for place in np.unravel_index(left.argmax(), left.shape))
        greedy.append((row, column))
        left[row], left[:, column] = 0.0, 0.0
    assert pairs == greedy
    taken = np.zeros(similarity.shape, bool)
    taken[rows], taken[:, columns] = True, True
    assert (similarity[~taken] < 0.2).all(), "nothing that could be a pair is left"


def test_overlaps_are_shared_area_over_united_area() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0, 0), (0.0, 0.0, 5.0, 10.0, 0)]
    others = [(0.0, 0.0, 10.0, 10.0, 0), (5.0, 5.0, 15.0, 15.0, 0), (20.0, 0.0, 30.0, 10.0, 0), (0.0, 0.0, 9.0, 9.0, 1)]
    wanted = [(-1.0, 0, 0), (-25 / 175, 0, 1), (-0.5, 1, 0)]
    assert overlaps(boxes, others, 0.1) == wanted
    assert overlaps(boxes, others, 0.2) == [wanted[0], wanted[2]]


BOXES = st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2, st.integers(0, 1)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(BOXES, BOXES)
def test_overlaps_are_those_of_all_pairs(some: List[Tuple[int, ...]], others: List[Tuple[int, ...]]) -> None:
    one, two = [[(x / 3, y / 3, (x + w) / 3, (y + h) / 3, c) for x, y, w, h, c in given_] for given_ in (some, others)]
    wanted = {}
    for row, (left, top, right, bottom, class_id) in enumerate(one):
        for column, (x1, y1, x2, y2, other_class) in enumerate(two):
            shared = max(0.0, min(right, x2) - max(left, x1)) * max(0.0, min(bottom, y2) - max(top, y1))
            iou = shared / ((right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - shared)
            if iou >= 0.2 and class_id == other_class:
                wanted[row, column] = -iou
    assert {(row, column): minus for minus, row, column in overlaps(one, two, 0.2)} == wanted
