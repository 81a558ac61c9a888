from __future__ import annotations

import numpy as np

from sightd.annotate import annotated
from sightd.types import Detections


def found(*boxes: tuple) -> Detections:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(table, np.full(len(table), 0.5, np.float32), np.arange(len(table), dtype=np.int32))


def test_each_box_is_drawn_where_it_is_in_a_colour_of_its_own_on_a_copy() -> None:
    black = np.zeros((200, 300, 3), np.uint8)
    picture = annotated(black, found((50, 80, 100, 150), (150, 80, 250, 150)), ["cat", "dog"])
    assert not black.any()
    assert picture[115, 50].any()
    assert picture[115, 250].any()
    assert not picture[115, 75].any()
    assert picture[115, 50].tolist() != picture[115, 250].tolist()


def test_a_box_that_leaves_the_picture_is_drawn_as_far_as_it_is_inside() -> None:
    picture = annotated(np.zeros((100, 100, 3), np.uint8), found((-20, -20, 40, 40)), ["cat"])
    assert picture[39:42, 10].any()


def test_no_detection_leaves_the_picture_as_it_is() -> None:
    grey = np.full((100, 100, 3), 77, np.uint8)
    assert np.array_equal(annotated(grey, found(), []), grey)
