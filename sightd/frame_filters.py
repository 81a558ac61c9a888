"""What a frame looks like in a few numbers, and whether it is worth calibrating on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .types import Image

__all__ = ["DUPLICATE_BITS", "Look", "distances", "is_corrupt", "look_at"]

# The figures below were measured at this length on 325 pictures (4 clips, 120 COCO photographs), each also darkened
# to an eighth, fogged, made noisy, blurred and with a camera's text overlay.
_LONG_SIDE = 320

#: dHashes of one camera that differ in at most so many of 64 bits show the same.
DUPLICATE_BITS = 2

#: Least spread of the luma, 5th to 95th percentile: a covered lens with noise and overlay has up to 6, pictures 22 and
#: more, the same at an eighth of the light 12 (one photograph of fog 3). The percentiles leave the overlay out.
FLAT_SPREAD = 8

#: Least Laplacian energy over luma variance: sharp pictures have 0.034 and more, noise and fog included (0.009 at an
#: eighth of the light without its noise). Blurred by a Gaussian of 1 % of the width they have 0.002 and 99 of 100 are
#: refused; noise on top of the blur lets 40 through.
BLURRED_SHARPNESS = 0.006

#: Least share of a band's width in which columns have one colour from its top to its bottom: how FFmpeg fills what is
#: missing of a key frame. Intact pictures have up to 0.05 (an eighth of the light and JPEG quality 20), key frames with
#: flipped bytes (H.264, MPEG-4) 0.27 to 1.0. Damage to the frames between looks like a picture and is not seen; it
#: ends with the next key frame.
SMEARED = 0.2
_BANDS, _COLUMNS = 6, 16

#: Least share of the height, from below, in the flat mid-grey of a decoder that got nothing for it.
GREY_SHARE = 0.1

# The sharpness of the best quarter of a picture: half of it may be sky, and a text overlay on a few tiles, which is
# always sharp, must not pass for the scene.
_TILES = (8, 6)
_TILE_PERCENTILE = 75


@dataclass(frozen=True)
class Look:
    """The looks of one picture, independent of its size."""

    #: Mean luma, 0 to 255.
    luma: float
    #: 5th to 95th percentile of the luma.
    spread: float
    #: Laplacian energy in the best quarter of the picture over the luma's variance.
    sharpness: float
    #: 64-bit difference hash, as 16 hexadecimal digits.
    dhash: str
    #: 8 x 8 luma, row by row, as 128 hexadecimal digits.
    thumbnail: str

    @property
    def is_black(self) -> bool:
        """Too dark or too flat to show anything."""
        return self.spread < FLAT_SPREAD

    @property
    def is_blurred(self) -> bool:
        """Out of focus, or of a camera that moves."""
        return self.sharpness < BLURRED_SHARPNESS


def look_at(image: Image) -> Look:
    """The looks of *image* (about a millisecond at 1280 x 720)."""
    height, width = image.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    size = (max(9, round(width * scale)), max(9, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey: NDArray[Any] = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    low, high = _percentiles(grey, 0.05, 0.95)
    gradients = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return Look(
        luma=round(float(grey.mean()), 2),
        spread=float(high - low),
        sharpness=_sharpness(grey),
        dhash=np.packbits(gradients[:, 1:] > gradients[:, :-1]).tobytes().hex(),
        thumbnail=cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA).tobytes().hex(),
    )


def is_corrupt(image: Image) -> bool:
    """Whether part of *image* was lost on the way, a smear or grey in its place (1.5 ms at 1280 x 720)."""
    return _smear(image) >= SMEARED or _ends_in_grey(image)


def distances(dhashes: Sequence[str], others: Sequence[str]) -> NDArray[np.int32]:
    """[len(dhashes), len(others)] int32: in how many of 64 bits they differ."""
    agreement: NDArray[np.float32] = _signs(dhashes) @ _signs(others).T
    return ((64 - agreement) / 2).astype(np.int32)


def _signs(dhashes: Sequence[str]) -> NDArray[np.float32]:
    packed = np.frombuffer(bytes.fromhex("".join(dhashes)), np.uint8).reshape(-1, 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _percentiles(grey: NDArray[Any], low: float, high: float) -> NDArray[np.int64]:
    counts = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    return np.searchsorted(counts, [low * counts[-1], high * counts[-1]])


def _sharpness(grey: NDArray[Any]) -> float:
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    tiles = cv2.resize(laplacian * laplacian, _TILES, interpolation=cv2.INTER_AREA)
    return float(np.percentile(tiles, _TILE_PERCENTILE)) / max(float(grey.var()), 1.0)


def _smear(image: Image) -> float:
    """The largest share of one of six bands where columns are flat, but differ from their neighbours."""
    height, width = image.shape[0] // _BANDS, image.shape[1] // _COLUMNS
    if height < 8 or width < 1:
        return 0.0
    green = image[: height * _BANDS, : width * _COLUMNS, 1].reshape(_BANDS, height, width * _COLUMNS)
    low, high = green.min(axis=1), green.max(axis=1)
    uneven = (high - low).reshape(_BANDS, width, _COLUMNS).max(axis=2)
    columns = high.reshape(_BANDS, width, _COLUMNS)
    return float(((uneven <= 2) & (columns.max(axis=2) - columns.min(axis=2) > 6)).mean(axis=1).max())


def _ends_in_grey(image: Image) -> bool:
    bottom = image[-max(1, round(image.shape[0] * GREY_SHARE)) :]
    return bool(bottom.min() >= 125 and bottom.max() <= 131)
