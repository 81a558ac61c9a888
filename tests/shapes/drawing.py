"""Draws coloured shapes: outlines as polygons, colours of a class and of what is none, soft edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sightd.types import Image

__all__ = ["DISTRACTOR", "LABELS", "Paint", "class_of", "cover", "outline", "paint_over", "random_paint"]

#: A class is a colour and a shape: neither tells it alone, and with red and blue swapped every one is another.
LABELS: Tuple[str, ...] = tuple(
    f"{colour} {kind}" for kind in ("circle", "square", "triangle") for colour in ("red", "blue")
)

#: The class of what only looks like an object: another colour, or another shape.
DISTRACTOR = -1

#: Colour -> hue in degrees, from and to; "grey" has none.
_HUES: Mapping[str, Tuple[float, float]] = {
    "red": (-12, 10),
    "blue": (212, 242),
    "green": (95, 150),
    "yellow": (48, 62),
    "grey": (0, 0),
}
_SHIFT = 4  # binary places of a polygon's corners behind the point


@dataclass(frozen=True)
class Paint:
    """How a shape is filled."""

    #: BGR, 0..255.
    colour: NDArray[np.float32]
    #: By how much it is brighter at its top than at its bottom, as a share of 1.
    shading: float


def class_of(colour: str, kind: str) -> int:
    """The index in LABELS, or DISTRACTOR."""
    label = f"{colour} {kind}"
    return LABELS.index(label) if label in LABELS else DISTRACTOR


def random_paint(random: np.random.Generator, colour: str) -> Paint:
    """A tone of *colour*, a key of _HUES."""
    low, high = _HUES[colour]
    saturation = 0.0 if colour == "grey" else random.uniform(0.65, 1.0)
    hsv = np.array([[[random.uniform(low, high) % 360, saturation, random.uniform(0.5, 1.0)]]], np.float32)
    return Paint(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255, random.uniform(-0.25, 0.25))


def outline(kind: str, centre: Tuple[float, float], size: float, angle: float) -> NDArray[np.float32]:
    """[corners, 2] x and y in pixels: *kind* in a circle of the diameter *size*, turned by *angle* radians."""
    turns, radii = _CORNERS[kind]
    turned = turns + angle
    around = np.stack([np.cos(turned), np.sin(turned)], axis=1) * radii[:, None] * size / 2
    return (around + np.array(centre)).astype(np.float32)


def cover(corners: NDArray[np.float32], width: int, height: int) -> Tuple[Tuple[slice, slice], NDArray[np.uint8]]:
    """The part of a picture that a polygon lies in (rows, columns), and how much of each pixel there it covers, 0..255.

    The part is empty where the polygon is outside.
    """
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, [width, height])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 0, [width, height])
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    if mask.size:
        points = np.round((corners - low) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SHIFT)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask


def paint_over(image: Image, place: Tuple[slice, slice], mask: NDArray[np.uint8], paint: Paint) -> None:
    """Fill what *mask* covers at *place* of *image*, in place."""
    share = mask[:, :, None].astype(np.float32) / 255
    rows = np.linspace(1 + paint.shading, 1 - paint.shading, len(mask), dtype=np.float32)[:, None, None]
    filled = np.clip(rows * paint.colour, 0, 255)
    image[place] = (image[place] * (1 - share) + filled * share).astype(np.uint8)


def _regular(corners: int, radii: Tuple[float, ...] = (1.0,)) -> Tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turns and radii of *corners* points at equal turns, with *radii* over and over."""
    turns = np.arange(corners) * (2 * np.pi / corners)
    return turns, np.resize(np.array(radii), corners)


def _cross(half: float = 0.3) -> Tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Four arms of the width 2 * *half*."""
    arm = [(1.0, -half), (1.0, half), (half, half)]
    points = np.array([(x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in arm])
    return np.arctan2(points[:, 1], points[:, 0]), np.hypot(points[:, 0], points[:, 1]) / np.hypot(1, half)


_CORNERS: Mapping[str, Tuple[NDArray[np.float64], NDArray[np.float64]]] = {
    "circle": _regular(48),
    "square": _regular(4),
    "triangle": _regular(3),
    "star": _regular(10, (1.0, 0.42)),
    "cross": _cross(),
}
