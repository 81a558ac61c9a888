"""By hand, and by trying everything."""

from __future__ import annotations

import itertools
from typing import List, Sequence, Tuple

import numpy as np
import pytest

from bench.assignment import assignment
from bench.tracking_metrics import Box, Scored, score

HERE, THERE, APART = (0.0, 0.0, 10.0, 10.0), (100.0, 0.0, 110.0, 10.0), (0.0, 100.0, 10.0, 110.0)
#: IoU of a third with HERE.
BESIDE = (5.0, 0.0, 15.0, 10.0)


def frames(*rows: Tuple[Sequence[Tuple[int, Sequence[float]]], Sequence[Tuple[int, Sequence[float]]]]) -> Scored:
    """Of each frame the truth and the tracks, of one class; nothing is ignored."""
    return score((_boxes(truth), _boxes(tracks), []) for truth, tracks in rows)


def _boxes(pairs: Sequence[Tuple[int, Sequence[float]]]) -> List[Box]:
    return [(identity, 0, box) for identity, box in pairs]


def test_who_is_always_found_is_perfect_whatever_his_number() -> None:
    scored = frames(*[([(7, HERE), (8, THERE)], [(1, THERE), (2, HERE)])] * 5)
    assert (scored.mota, scored.idf1, scored.switches) == (1.0, 1.0, 0)


def test_misses_and_false_boxes_count() -> None:
    scored = frames(([(7, HERE), (8, THERE)], [(1, HERE), (2, APART)]), ([(7, HERE)], [(1, BESIDE)]))
    assert (scored.objects, scored.misses, scored.false, scored.switches) == (3, 2, 2, 0)
    assert scored.mota == pytest.approx(1 - 4 / 3)
    assert scored.idf1 == pytest.approx(2 * 1 / (3 + 3))


def test_an_identity_that_goes_over_to_another_track_is_one_switch_even_after_a_gap() -> None:
    scored = frames(
        ([(7, HERE)], [(1, HERE)]), ([(7, HERE)], []), ([(7, HERE)], [(2, HERE)]), ([(7, HERE)], [(2, HERE)])
    )
    assert (scored.switches, scored.misses) == (1, 1)
    assert scored.mota == pytest.approx(1 - 2 / 4)
    assert scored.idf1 == pytest.approx(2 * 2 / (4 + 3)), "track 2 agrees in two frames, 1 in one"


def test_two_that_change_places_are_two_switches_and_half_of_idf1() -> None:
    before, after = [(1, HERE), (2, THERE)], [(2, HERE), (1, THERE)]
    scored = frames(*[([(7, HERE), (8, THERE)], before)] * 2, *[([(7, HERE), (8, THERE)], after)] * 2)
    assert scored.switches == 2
    assert scored.idf1 == pytest.approx(0.5)


def test_a_match_stands_while_it_overlaps_though_another_would_be_nearer() -> None:
    near = (0.0, 0.0, 10.0, 9.0)
    scored = frames(([(7, HERE)], [(1, HERE)]), ([(7, HERE)], [(1, near), (2, HERE)]))
    assert (scored.switches, scored.false) == (0, 1)


def test_another_class_is_no_match_and_what_is_ignored_counts_neither_way() -> None:
    scored = score([([(7, 0, HERE)], [(1, 1, HERE), (2, 0, THERE)], [THERE])])
    assert (scored.misses, scored.false, scored.tracked) == (1, 1, 1)


def test_nothing_at_all_is_no_trouble() -> None:
    assert frames(([], []), ([], [])).objects == 0


def test_the_assignment_costs_least() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        rows, columns = (int(size) for size in random.integers(1, 6, 2))
        cost = random.random((rows, columns)).round(1)
        pairs = assignment(cost)
        wide = cost if rows <= columns else cost.T
        ways = itertools.permutations(range(wide.shape[1]), wide.shape[0])
        least = min(sum(wide[row, column] for row, column in enumerate(way)) for way in ways)
        assert sum(cost[pair] for pair in pairs) == pytest.approx(least)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == min(rows, columns)
