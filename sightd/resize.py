"""A picture into the caller's input buffer, as the input spec says: the one function that calibrates and serves."""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import Image, InputSpec, Placement

__all__ = ["placement", "resize_into"]

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "nearest": cv2.INTER_NEAREST}


def placement(spec: InputSpec, width: int, height: int) -> Placement:
    """Where a picture of *width* x *height* pixels lies in the input that *spec* describes."""
    if spec.resize == "stretch":
        return Placement(spec.width / width, spec.height / height, 0.0, 0.0, width, height)
    inner_w, inner_h = _inner_size(spec, width, height)
    left = top = 0
    if spec.resize == "letterbox-centre":
        left, top = (spec.width - inner_w) // 2, (spec.height - inner_h) // 2
    return Placement(inner_w / width, inner_h / height, left, top, width, height)


def resize_into(buffer: NDArray[np.uint8], image: Image, spec: InputSpec) -> Placement:
    """Resize *image* into *buffer* and say where it lies.

    :param buffer: [spec.height, spec.width, 3] uint8, C-contiguous, written in place (padding included).
    :param image: [height, width, 3] uint8 BGR, untouched.
    """
    height, width = image.shape[:2]
    place = placement(spec, width, height)
    inner_w, inner_h = round(place.scale_x * width), round(place.scale_y * height)
    left, top = int(place.offset_x), int(place.offset_y)
    inner = buffer[top : top + inner_h, left : left + inner_w]
    if (width, height) == (inner_w, inner_h):
        inner[...] = image
    else:
        cv2.resize(image, (inner_w, inner_h), dst=inner, interpolation=_INTERPOLATION[spec.interpolation])
    if (inner_w, inner_h) != (spec.width, spec.height):
        _pad(buffer, left, top, inner_w, inner_h, spec.pad_value)
    return place


def _inner_size(spec: InputSpec, width: int, height: int) -> Tuple[int, int]:
    """The largest size of the picture's shape that fits, rounded down as YOLOX does, in whole numbers."""
    if width * spec.height >= height * spec.width:
        return spec.width, max(1, height * spec.width // width)
    return max(1, width * spec.height // height), spec.height


def _pad(buffer: NDArray[np.uint8], left: int, top: int, inner_w: int, inner_h: int, value: int) -> None:
    buffer[:top] = value
    buffer[top + inner_h :] = value
    buffer[top : top + inner_h, :left] = value
    buffer[top : top + inner_h, left + inner_w :] = value
