from __future__ import annotations

from typing import List, Tuple

import numpy as np
import pytest

from sightd.crops import crop
from sightd.types import Image


def picture() -> Image:
    """Every pixel tells its place: blue is x, green is y."""
    y, x = np.indices((100, 200)).astype(np.uint8)
    return np.stack([x, y, np.zeros_like(x)], axis=2)


@pytest.mark.parametrize(
    ("box", "corner", "size"),
    [
        ([50, 40, 70, 60], (48, 38), (24, 24)),
        ([0, 0, 100, 50], (0, 0), (110, 55)),
        ([150, 80, 200, 100], (145, 78), (55, 22)),
        ([10.5, 20.5, 11.5, 21.5], (10, 20), (2, 2)),
        ([0, 0, 200, 100], (0, 0), (200, 100)),
    ],
)
def test_a_box_is_widened_by_a_tenth_and_clipped(
    box: List[float], corner: Tuple[int, int], size: Tuple[int, int]
) -> None:
    cut = crop(picture(), np.array(box, np.float32))
    assert (int(cut[0, 0, 0]), int(cut[0, 0, 1])) == corner
    assert (cut.shape[1], cut.shape[0]) == size


def test_nothing_is_copied() -> None:
    image = picture()
    assert np.shares_memory(crop(image, np.array([50, 40, 70, 60], np.float32)), image)
