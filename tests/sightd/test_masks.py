"""Privacy masks: what is painted over, and what must not stay visible by mistake."""

from __future__ import annotations

import numpy as np
import pytest

from sightd.masks import MASK_GREY, masked

WHITE = np.full((100, 200, 3), 255, np.uint8)


def test_a_mask_covers_its_area_border_included_and_nothing_else() -> None:
    picture = masked(WHITE, [[(0.25, 0.1), (0.5, 0.1), (0.5, 0.9), (0.25, 0.9)]])
    covered = (picture == MASK_GREY).all(axis=2)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 89, 50, 100)
    assert covered[10:90, 50:101].all()
    assert (picture[~covered] == 255).all()
    assert (WHITE == 255).all(), "the frame itself is untouched"


def test_a_mask_of_the_whole_picture_leaves_nothing() -> None:
    assert (masked(WHITE, [[(0, 0), (1, 0), (1, 1), (0, 1)]]) == MASK_GREY).all()


def test_where_masks_overlap_nothing_shows() -> None:
    left, middle = [(0, 0), (0.6, 0), (0.6, 1), (0, 1)], [(0.3, 0), (0.9, 0), (0.9, 1), (0.3, 1)]
    assert (masked(WHITE, [left, middle])[:, :170] == MASK_GREY).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (720, 1280, 3)])
def test_shares_hold_for_every_size(shape: tuple[int, int, int]) -> None:
    assert (masked(np.zeros(shape, np.uint8), [[(0, 0), (1, 0), (1, 1), (0, 1)]]) == MASK_GREY).all()
