"""The picture of one object, cut out of its frame: the one function that makes crops to calibrate on and to serve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .types import Image

__all__ = ["crop"]

#: Of the box's width and height, added on each side: detectors cut close, and what is around an object tells of it.
_MARGIN = 0.1


def crop(image: Image, box: NDArray[np.float32]) -> Image:
    """The part of *image* below *box*, widened by a tenth on each side and clipped to the picture; a view.

    :param box: [4], x1 y1 x2 y2 in pixels of *image*, finite and within it, not without an area.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    beside, above = (x2 - x1) * _MARGIN, (y2 - y1) * _MARGIN
    left, top = max(0, math.floor(x1 - beside)), max(0, math.floor(y1 - above))
    right, bottom = min(width, math.ceil(x2 + beside)), min(height, math.ceil(y2 + above))
    return image[top:bottom, left:right]
