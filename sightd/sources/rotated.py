"""A camera that hangs on its side or upside down, set upright."""

from __future__ import annotations

from typing import Optional, cast

import cv2

from ..types import Image
from .base import Source

__all__ = ["RotatedSource"]

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class RotatedSource(Source):
    """The pictures of *source*, turned clockwise by 90, 180 or 270 degrees."""

    def __init__(self, source: Source, degrees: int) -> None:
        self._source, self._turn = source, _TURNS[degrees]
        self.live, self.is_camera = source.live, source.is_camera

    def open(self) -> None:
        self._source.open()

    def grab(self) -> bool:
        return self._source.grab()

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return cast(Image, cv2.rotate(self._source.retrieve(), self._turn, into))

    def close(self) -> None:
        self._source.close()

    def patience_s(self) -> float:
        return self._source.patience_s()

    def clock_s(self) -> float:
        return self._source.clock_s()
