from __future__ import annotations

import numpy as np
import pytest

from converter.agreement.bootstrap import blocks, interval, resamples


def test_neighbours_of_one_camera_share_a_block_whatever_their_order() -> None:
    times = [5.0, 0.0, 1.0, 4.0, 3.0, 2.0, 7.0, 6.0]  # eight frames: blocks of two
    found = blocks(["yard"] * 8, times)
    by_time = found[np.argsort(times)].tolist()
    assert by_time == [0, 0, 1, 1, 2, 2, 3, 3]


def test_cameras_share_no_block() -> None:
    found = blocks(["a", "b"] * 8, list(range(16)))
    assert not set(found[::2]) & set(found[1::2])


def test_few_frames_are_drawn_one_by_one() -> None:
    assert blocks(["a"] * 3, [0.0, 1.0, 2.0]).tolist() == [0, 1, 2]


def test_a_block_is_drawn_as_a_whole_and_as_many_as_there_are() -> None:
    block_of = np.array([0, 0, 1, 1, 2, 2])
    weights = resamples(block_of, 50)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights.sum(axis=1) == 6).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_no_frame_gives_no_weight() -> None:
    assert resamples(blocks([], []), 5).shape == (5, 0)


def test_the_interval_of_a_mean_is_what_theory_says() -> None:
    values = np.random.default_rng(3).normal(0, 1, 400)
    means = [float((values * row).sum() / row.sum()) for row in resamples(np.arange(400), 1000)]
    low, high = interval(np.array(means))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_resamples_without_anything_to_measure_are_left_out() -> None:
    assert interval(np.array([np.nan, 0.5, 0.5])) == (0.5, 0.5)
    assert interval(np.array([np.nan])) == (0.0, 0.0)
