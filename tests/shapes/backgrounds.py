"""Backgrounds for the shapes: gradients, blotches, stripes, boards; grain of the sensor; light that changes."""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sightd.types import Image

__all__ = ["Grain", "Light", "background"]

_SPARE = 64  # by so many pixels a window into the grain can be moved


def background(random: np.random.Generator, width: int, height: int) -> Image:
    """One of four kinds, sometimes two over one another, in muted colours."""
    image = _one(random, width, height)
    if random.random() < 0.5:
        share = random.uniform(0.2, 0.6)
        image = cv2.addWeighted(image, share, _one(random, width, height), 1 - share, 0)
    return np.clip(image, 0, 255).astype(np.uint8)


class Grain:
    """Noise that differs from frame to frame, the same for the same frame."""

    def __init__(self, random: np.random.Generator, width: int, height: int) -> None:
        noise = random.standard_normal((height + _SPARE, width + _SPARE), np.float32) * random.uniform(0, 8)
        self._noise = cv2.merge([noise.astype(np.int16)] * 3)

    def added(self, image: Image, random: np.random.Generator) -> Image:
        """*image* with another window into the noise."""
        height, width = image.shape[:2]
        x, y = random.integers(0, _SPARE, 2)
        return np.asarray(cv2.add(image, self._noise[y : y + height, x : x + width], dtype=cv2.CV_8U), np.uint8)


class Light:
    """A colour cast, a slow change of brightness, and in some scenes a lamp that goes on or off."""

    def __init__(self, random: np.random.Generator) -> None:
        self._cast = random.uniform(0.93, 1.07, 3) * random.uniform(0.7, 1.1)
        self._swing, self._period_s, self._phase = random.uniform(0, 0.15), random.uniform(4, 20), random.uniform(0, 6)
        self._lamp = random.choice([1.0, 1.0, 0.75, 1.2])
        self._switched_s = random.uniform(1, 6)

    def on(self, image: Image, time_s: float) -> Image:
        """*image* as it is lit at *time_s*."""
        slow = 1 + self._swing * np.sin(2 * np.pi * time_s / self._period_s + self._phase)
        lamp = self._lamp if time_s >= self._switched_s else 1.0
        levels = np.arange(256)[:, None, None] * (self._cast * slow * lamp)
        return np.asarray(cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)), np.uint8)


def _one(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    pattern = _PATTERNS[random.integers(len(_PATTERNS))](random, width, height)
    low, high = _muted(random), _muted(random)
    return np.asarray(cv2.merge([low[c] + (high[c] - low[c]) * pattern for c in range(3)]), np.float32)


def _muted(random: np.random.Generator) -> NDArray[np.float32]:
    """A BGR colour that is no object's."""
    hsv = np.array([[[random.uniform(0, 360), random.uniform(0, 0.4), random.uniform(0.1, 0.95)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255, np.float32)


def _along(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """[height, width] how far each pixel lies along some direction, as a share of the longer side."""
    angle = random.uniform(0, 2 * np.pi)
    x, y = (
        np.arange(width, dtype=np.float32) / max(width, height),
        np.arange(height, dtype=np.float32) / max(width, height),
    )
    return np.asarray(x[None, :] * np.cos(angle) + y[:, None] * np.sin(angle), np.float32)


def _gradient(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    along = _along(random, width, height)
    return np.asarray((along - along.min()) / max(float(np.ptp(along)), 1e-6), np.float32)


def _stripes(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    return np.asarray((np.sin(_along(random, width, height) * random.uniform(12, 150)) + 1) / 2, np.float32)


def _blotches(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    cells: Tuple[int, int] = (int(random.integers(3, 24)), int(random.integers(3, 24)))
    return np.clip(cv2.resize(random.random(cells, np.float32), (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _board(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    cells: Tuple[int, int] = (int(random.integers(2, 12)), int(random.integers(2, 12)))
    return cv2.resize(random.random(cells, np.float32), (width, height), interpolation=cv2.INTER_NEAREST)


_PATTERNS = (_gradient, _stripes, _blotches, _board)
