"""How well a choice of frames stands for all."""

from __future__ import annotations

import json
from typing import List, Tuple

import numpy as np
import pytest
from numpy.typing import NDArray

from converter.calibration.coverage import Growth, Radius, coverage, radius_of, saturation
from converter.calibration.select import Stratum

YARD: Stratum = ("yard", 0, "bright", "unknown")


def points(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None]


def test_the_radius_is_that_of_the_nearest_chosen_frame() -> None:
    assert radius_of(points(0, 1, 2, 10), [0, 3]) == Radius(2.0, 0.75)


def test_of_a_choice_of_all_it_is_zero() -> None:
    found = coverage(points(0, 3, 9), [YARD] * 3, [2, 0, 1], "embeddings")
    assert found.radius == found.random_radius == Radius(0.0, 0.0)


def test_a_random_choice_of_as_many_stands_beside_it() -> None:
    values = points(*[0.0] * 50, 100)
    found = coverage(values, [YARD] * 51, [0, 50], "embeddings")
    assert found.radius.greatest == 0
    assert found.random_radius.greatest > 50


def test_thumbnails_are_compared_by_grey_levels() -> None:
    values = np.array([[10] * 64, [13] * 64], np.float32)
    assert coverage(values, [YARD] * 2, [0], "thumbnails").radius == Radius(3.0, 1.5)


def test_strata_are_counted_by_what_makes_them_up() -> None:
    strata: List[Stratum] = [
        ("yard", 3, "dark", "unknown"),
        ("yard", 14, "bright", "busy"),
        ("gate", 14, "dim", "empty"),
    ]
    assert coverage(points(0, 1, 2), strata, [1], "embeddings").strata == {
        "camera": {"gate": (1, 0), "yard": (2, 1)},
        "hour": {"03": (1, 0), "14": (2, 1)},
        "light": {"bright": (1, 1), "dark": (1, 0), "dim": (1, 0)},
        "busyness": {"busy": (1, 1), "empty": (1, 0), "unknown": (1, 0)},
    }


def test_saturation_is_the_share_of_the_final_maxima_in_the_order_of_choice() -> None:
    maxima = np.ones((20, 2), np.float32)
    maxima[12, 0], maxima[19, 1] = 2, 4
    found = saturation(maxima)
    assert [(growth.frames, growth.mean, growth.least) for growth in found] == [
        (8, 0.375, 0.25),
        (16, 0.625, 0.25),
        (20, 1.0, 1.0),
    ]
    assert found[0].twentieth == pytest.approx(0.2625)


def test_saturation_passes_over_tensors_that_were_always_zero() -> None:
    maxima = np.array([[0, 1], [0, 2]], np.float32)
    assert saturation(maxima) == (Growth(2, 1.0, 1.0, 1.0),)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (5, 0), (3, 2)])
def test_where_nothing_was_seen_there_is_no_saturation(shape: Tuple[int, int]) -> None:
    assert saturation(np.zeros(shape, np.float32)) == ()


def test_it_can_be_written_as_json() -> None:
    found = coverage(points(0, 1, 2.00001), [YARD] * 3, [0, 2], "embeddings").as_dict()
    assert json.loads(json.dumps(found)) == found
    assert (found["chosen"], found["radius"]["greatest"]) == (2, 1.0)
