"""Boxes brought to corners in input pixels, in the graph and again in NumPy: one judges the other."""

from __future__ import annotations

from typing import Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft

__all__ = ["BOX_FORMATS", "BOX_UNITS", "graft_corners", "graft_xyxy", "one_hot", "option", "pixels_of", "xyxy"]

#: Corners, corners with y first, centre and size.
BOX_FORMATS = ("xyxy", "yxyx", "cxcywh")
BOX_UNITS = ("pixels", "fraction")


def pixels_of(box_unit: str, width: int, height: int) -> Tuple[int, int]:
    """What numbers in one of BOX_UNITS are multiplied by to be pixels, x and y."""
    return (width, height) if box_unit == "fraction" else (1, 1)


def graft_xyxy(graft: Graft, boxes: str, box_format: str, unit: Tuple[float, float]) -> str:
    """[N, A, 4] of *box_format* as x1, y1, x2, y2, multiplied by *unit* (x, y)."""
    if box_format == "cxcywh":
        boxes = graft_corners(graft, *graft.split(boxes, (2, 2), 2))
    elif box_format == "yxyx":
        boxes = graft.add("Gather", boxes, graft.constant(np.array([1, 0, 3, 2], np.int64)), axis=2)
    if set(unit) == {1}:
        return boxes
    return graft.add("Mul", boxes, graft.constant(np.array(unit * 2, np.float32)))


def graft_corners(graft: Graft, centre: str, size: str) -> str:
    """Corners [N, A, 4] of boxes given by centre and size, [N, A, 2] each."""
    half = graft.add("Mul", size, graft.constant(np.array(0.5, np.float32)))
    return graft.add("Concat", graft.add("Sub", centre, half), graft.add("Add", centre, half), axis=2)


def xyxy(boxes: NDArray[np.floating], box_format: str, unit: Tuple[float, float]) -> NDArray[np.float32]:
    """The same for the reference: [A, 4] of *box_format* in *unit* as float32 corners in pixels."""
    a, b, c, d = boxes.astype(np.float64).T
    if box_format == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    elif box_format == "yxyx":
        a, b, c, d = b, a, d, c
    return np.stack([a * unit[0], b * unit[1], c * unit[0], d * unit[1]], axis=1).astype(np.float32)


def one_hot(scores: NDArray[np.floating], classes: NDArray[np.signedinteger]) -> NDArray[np.float32]:
    """[A, C] from the scores [A] of one class each, as the reference wants them."""
    columns = np.zeros((len(scores), int(classes.max(initial=0)) + 1), np.float32)
    columns[np.arange(len(scores)), classes] = scores
    return columns


def option(options: Mapping[str, str], name: str, allowed: Sequence[str], default: str) -> str:
    """The value of the head option *name*.

    :raises ModelError: it is none of *allowed*.
    """
    value = options.get(name, default)
    if value not in allowed:
        raise ModelError(f"head option {name} is {value!r}, must be one of {', '.join(allowed)}")
    return value
