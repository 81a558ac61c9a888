"""Frames made by hand."""

from __future__ import annotations

import time
from typing import Optional

import numpy as np

from sightd.types import Frame, Image

__all__ = ["frame"]


def frame(camera: str, seq: int, image: Optional[Image] = None, captured_mono: Optional[float] = None) -> Frame:
    """Frame *seq* of *camera*, captured just now unless said otherwise; black, 64 x 48, without *image*."""
    return Frame(
        camera=camera,
        seq=seq,
        captured_at=time.time(),
        captured_mono=time.monotonic() if captured_mono is None else captured_mono,
        decode_s=0.002,
        image=np.zeros((48, 64, 3), np.uint8) if image is None else image,
    )
