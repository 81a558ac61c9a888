"""Privacy masks: parts of a picture that are painted over before it is kept."""

from __future__ import annotations

from typing import Sequence, Tuple

import cv2
import numpy as np

from .types import Image

__all__ = ["MASK_GREY", "Polygon", "masked"]

#: Its corners, each (x, y) as shares 0..1 of the picture's width and height.
Polygon = Sequence[Tuple[float, float]]

#: What detectors are trained to see nothing in: the grey around a letterboxed picture.
MASK_GREY = 114


def masked(image: Image, masks: Sequence[Polygon]) -> Image:
    """A copy of *image* with all of *masks* in flat grey, borders included."""
    copy: Image = image.copy()
    size = np.array([image.shape[1] - 1, image.shape[0] - 1], np.float64)
    for mask in masks:
        corners = np.rint(np.asarray(mask, np.float64) * size).astype(np.int32)
        # One at a time: where polygons of one call overlap, OpenCV would leave the picture as it was.
        cv2.fillPoly(copy, [corners], (MASK_GREY,) * 3)
    return copy
