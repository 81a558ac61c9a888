"""OpenCV's INTER_LINEAR as whole numbers: which rows of a picture the letterbox reads, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from ..resize import placement
from ..types import Image, InputSpec, Placement

__all__ = ["Sampling", "sampling"]

#: OpenCV's weights are shares of this.
_ONE = 2048
_CHANNELS = 3


@dataclass(frozen=True)
class Sampling:
    """What letterbox.cu is given for pictures of one size, beside their pixels."""

    placement: Placement
    #: Of the picture in the input, in pixels: left, top, width, height.
    inner: Tuple[int, int, int, int]
    #: Which rows of the picture are read, ascending: 468 of 2160 for 3840 x 2160 to 416 x 416.
    rows: NDArray[np.intp]
    #: [inner width + inner height, 4] int32: each column's, then each row's two byte offsets and two weights.
    taps: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Of the taps and the rows that they point into."""
        return self.taps.nbytes + len(self.rows) * self.placement.width * _CHANNELS

    def write(self, staging: NDArray[np.uint8], image: Image) -> None:
        """Write the taps and then the rows of *image* into the first ``nbytes`` of *staging*."""
        start = self.taps.nbytes
        staging[:start] = self.taps.view(np.uint8).reshape(-1)
        pixels = staging[start : self.nbytes].reshape(len(self.rows), self.placement.width, _CHANNELS)
        np.take(image, self.rows, axis=0, out=pixels, mode="clip")  # the other modes copy twice


@lru_cache(maxsize=64)
def sampling(spec: InputSpec, width: int, height: int) -> Sampling:
    """How a picture of *width* x *height* pixels becomes the input that *spec* describes."""
    place = placement(spec, width, height)
    inner_w, inner_h = round(place.scale_x * width), round(place.scale_y * height)
    columns, across = _positions(width, inner_w)
    lines, down = _positions(height, inner_h)
    rows, packed = np.unique(lines, return_inverse=True)
    offsets = columns * _CHANNELS, packed.reshape(lines.shape) * (width * _CHANNELS)
    taps = np.concatenate([_taps(offsets[0], across), _taps(offsets[1], down)])
    return Sampling(place, (int(place.offset_x), int(place.offset_y), inner_w, inner_h), rows, taps)


def _positions(source: int, target: int) -> Tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each target pixel the two of the source between which its centre lies, [2, target], and the second's share.

    The same pixel twice beyond the edges. Single precision from here on, as in OpenCV's resize.cpp: with double some
    weights would be off by one.
    """
    centres = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    before = np.floor(centres)
    pair = np.clip([before, before + 1], 0, source - 1).astype(np.intp)
    return pair, centres - before


def _taps(offsets: NDArray[np.intp], share: NDArray[np.float32]) -> NDArray[np.int32]:
    """[n, 4] of the *offsets* [2, n] and the *share* of the second."""
    weights = np.rint(np.array([np.float32(1) - share, share]) * _ONE)
    return np.ascontiguousarray(np.concatenate([offsets, weights]).T.astype(np.int32))
