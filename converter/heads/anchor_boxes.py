"""The anchor boxes of YOLOv5 and YOLOv7: those published with the weights for COCO, or as the user gives them."""

from __future__ import annotations

import re
from typing import Mapping, Sequence, Tuple

from sightd.errors import ModelError

__all__ = ["DEFAULT", "AnchorBoxes", "anchor_boxes"]

#: For each grid, the finest first, width and height of each anchor box in input pixels.
AnchorBoxes = Tuple[Tuple[Tuple[float, float], ...], ...]

DEFAULT = "yolov5"

_P5, _P6 = (8, 16, 32), (8, 16, 32, 64)
_OF_P6 = "19x27,44x40,38x94,96x68,86x152,180x137,140x301,303x264,238x542,436x615,739x380,925x792"
#: YOLOv7-tiny, too, has YOLOv5's.
_PUBLISHED: Mapping[str, Mapping[Tuple[int, ...], str]] = {
    "yolov5": {_P5: "10x13,16x30,33x23,30x61,62x45,59x119,116x90,156x198,373x326", _P6: _OF_P6},
    "yolov7": {_P5: "12x16,19x36,40x28,36x75,76x55,72x146,142x110,192x243,459x401", _P6: _OF_P6},
}
_BOX = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)")


def anchor_boxes(text: str, strides: Sequence[int]) -> AnchorBoxes:
    """The anchor boxes of grids of *strides*.

    :param text: "yolov5", "yolov7", or all as width x height, "10x13,16x30,...", those of the finest grid first.
    :raises ModelError: they can't be read, there are none of that name for these strides, or not as many for each grid.
    """
    published = _PUBLISHED.get(text, {}).get(tuple(strides))
    if text in _PUBLISHED and published is None:
        raise ModelError(
            f"for grids of strides {', '.join(map(str, strides))} no anchor boxes are published as {text}'s: give "
            "those that the model was trained with, --head-option anchors=10x13,16x30,..."
        )
    found = [_BOX.fullmatch(part.strip()) for part in (published or text).split(",")]
    sizes = [(float(one.group(1)), float(one.group(2))) for one in found if one]
    if len(sizes) != len(found) or len(sizes) % len(strides) or not all(w > 0 and h > 0 for w, h in sizes):
        names = ", ".join(_PUBLISHED)
        raise ModelError(
            f"head option anchors is {text!r}, must be {names}, or widths and heights in pixels like 10x13,16x30, "
            f"as many for each of the {len(strides)} grids"
        )
    a_cell = len(sizes) // len(strides)
    return tuple(tuple(sizes[first : first + a_cell]) for first in range(0, len(sizes), a_cell))
