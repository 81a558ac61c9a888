"""Small synthetic clips whose pictures tell their own number."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sightd.types import Image

__all__ = ["numbered_picture", "read_number", "write_clip"]

_BITS = 16


def write_clip(path: Path, *, count: int = 50, fps: float = 25.0, width: int = 320, height: int = 240) -> Path:
    """An MJPG AVI at *path* whose picture i shows the number i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened(), f"OpenCV can't write {path}"
    for number in range(count):
        writer.write(numbered_picture(number, width, height))
    writer.release()
    return path


def numbered_picture(number: int, width: int = 320, height: int = 240) -> Image:
    """*number* as 16 black and white columns, the highest bit left."""
    bits = np.array([number >> (_BITS - 1 - place) & 1 for place in range(_BITS)], np.uint8)
    row = np.repeat(bits * 200 + 20, width // _BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def read_number(image: Image) -> int:
    """The number that :func:`numbered_picture` drew, after any lossy compression."""
    columns = image.mean(axis=(0, 2)).reshape(_BITS, -1).mean(axis=1) > 128
    return int("".join("1" if column else "0" for column in columns), 2)
