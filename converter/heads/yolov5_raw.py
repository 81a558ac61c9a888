"""YOLOv5's and YOLOv7's own predictions, cut before decoding: offsets from anchor boxes that have to be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from ..model.graph import Tensor
from .anchor_boxes import DEFAULT, AnchorBoxes, anchor_boxes
from .base import Anchors, Head, Signature, best_class
from .boxes import graft_corners
from .grids import Grid, cells, maps_on_grids

__all__ = ["Yolov5RawHead"]


@dataclass(frozen=True)
class Yolov5RawHead(Head):
    """For each grid [B, P, rows, columns, 5 + C], or [B, P * (5 + C), rows, columns], of P anchors a cell.

    Decoding as in YOLOv5's ``Detect``: with s = sigmoid(t), centre = (2 s - 0.5 + cell) * stride, size = (2 s) ** 2 *
    anchor box, score = objectness * class.
    """

    classes: int
    grids: Tuple[Grid, ...]
    #: For each grid the place of its map among the outputs.
    places: Tuple[int, ...]
    #: For each grid, width and height of each of its P anchor boxes in input pixels.
    boxes: AnchorBoxes
    #: The channels are the last axis of five.
    channels_last: bool
    #: The maps leave the model before their sigmoid.
    logits: bool

    family: ClassVar[str] = "yolov5-raw"
    layout: ClassVar[str] = (
        "for each grid of strides 8, 16, 32 (and 64, or 4) one map [batch, 3, rows, columns, 5 + classes] or "
        "[batch, 3 * (5 + classes), rows, columns]; the option anchors is yolov5, yolov7 or 10x13,16x30,... (pixels)"
    )
    options: ClassVar[Tuple[str, ...]] = ("anchors",)

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> Yolov5RawHead:
        size, outputs = (signature.width, signature.height), signature.outputs
        ranks = {len(output.shape) for output in outputs}
        grids, found = maps_on_grids(*size, outputs) if ranks in ({4}, {5}) else ((), [])
        if not grids or any(len(level) != 1 for level in found):
            raise ModelError(f"yolov5-raw needs {cls.layout}")
        strides = [grid.stride for grid in grids]
        boxes = anchor_boxes(options.get("anchors", DEFAULT), strides)
        channels_last, a_cell = ranks == {5}, len(boxes[0])
        wanted = {_anchors_and_values(output, a_cell, channels_last) for output in outputs}
        (seen, values), *others = wanted
        if others or seen != a_cell or values < 6:
            raise ModelError(f"yolov5-raw needs {cls.layout}; {a_cell} anchors a cell were expected")
        logits = not any("Sigmoid" in behind for behind in signature.behind.values())
        assumptions = () if "anchors" in options else (_assumption(strides),)
        anchors = a_cell * sum(grid.cells for grid in grids)
        places = tuple(level[0] for level in found)
        return cls(*size, anchors, values - 5, assumptions, grids, places, boxes, channels_last, logits)

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        """Also, for maps by channel, what is before each: one layer, where YOLOv8 joins two."""
        joined = any("Concat" in behind for behind in signature.behind.values())
        by_anchor = len(signature.outputs[0].shape) == 5
        return super().matches(signature) and (by_anchor or not joined)

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        levels = [
            self._graft_rows(graft, outputs[place], grid, len(boxes))
            for place, grid, boxes in zip(self.places, self.grids, self.boxes)
        ]
        rows = graft.add("Concat", *levels, axis=1)
        box, objectness, scores = graft.split(rows, (4, 1, self.classes), 2)
        best, classes = best_class(graft, scores)  # a sigmoid keeps the order of the classes
        objectness = graft.add("Squeeze", objectness, graft.constant(np.array([2], np.int64)))
        if self.logits:
            box, objectness, best = (graft.add("Sigmoid", tensor) for tensor in (box, objectness, best))
        twice = graft.add("Mul", box, graft.constant(np.array(2, np.float32)))
        shift, factor = graft.split(twice, (2, 2), 2)
        cell, stride, anchor = (graft.constant(values[None]) for values in self._anchors())
        centre = graft.add("Mul", graft.add("Add", shift, cell), stride)
        size = graft.add("Mul", graft.add("Mul", factor, factor), anchor)
        return Anchors(graft_corners(graft, centre, size), graft.add("Mul", objectness, best), classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = [], []
        for place, grid, sizes in zip(self.places, self.grids, self.boxes):
            plane = outputs[place].astype(np.float64)
            if not self.channels_last:
                plane = plane.reshape(len(sizes), 5 + self.classes, grid.rows, grid.columns)
                plane = plane.transpose(0, 2, 3, 1)
            plane = 1 / (1 + np.exp(-plane)) if self.logits else plane
            y, x = np.indices((grid.rows, grid.columns))
            cx, cy = (plane[..., 0] * 2 - 0.5 + x) * grid.stride, (plane[..., 1] * 2 - 0.5 + y) * grid.stride
            half = (plane[..., 2:4] * 2) ** 2 * np.array(sizes)[:, None, None] / 2
            w, h = half[..., 0], half[..., 1]
            boxes.append(np.stack([cx - w, cy - h, cx + w, cy + h], axis=-1).reshape(-1, 4))
            scores.append((plane[..., 4:5] * plane[..., 5:]).reshape(-1, self.classes))
        return np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)

    def _graft_rows(self, graft: Graft, plane: str, grid: Grid, a_cell: int) -> str:
        """[N, P * cells, 5 + C] of one map."""
        values = 5 + self.classes
        if not self.channels_last:
            shape = graft.constant(np.array([-1, a_cell, values, grid.cells], np.int64))
            plane = graft.add("Transpose", graft.add("Reshape", plane, shape), perm=[0, 1, 3, 2])
        return graft.add("Reshape", plane, graft.constant(np.array([-1, a_cell * grid.cells, values], np.int64)))

    def _anchors(self) -> Tuple[NDArray[np.float32], ...]:
        """Every anchor's cell less a half [A, 2], stride [A, 1] and box [A, 2], in the order of the rows."""
        found = []
        for grid, boxes in zip(self.grids, self.boxes):
            cell, stride = cells([grid])
            each = np.repeat(np.array(boxes, np.float32), grid.cells, axis=0)
            found.append((np.tile(cell, (len(boxes), 1)) - np.float32(0.5), np.tile(stride, (len(boxes), 1)), each))
        return tuple(np.concatenate(values) for values in zip(*found))


def _anchors_and_values(output: Tensor, a_cell: int, channels_last: bool) -> Tuple[int, int]:
    """Anchors a cell and values an anchor of one map; 0 values where the channels are no multiple of *a_cell*."""
    if channels_last:
        return output.shape[1] or 0, output.shape[4] or 0
    values, rest = divmod(output.shape[1] or 0, a_cell)
    return a_cell, 0 if rest else values


def _assumption(strides: Sequence[int]) -> str:
    return (
        f"the anchor boxes are taken as {DEFAULT}'s for strides {', '.join(map(str, strides))}, which this layout does "
        "not tell (YOLOv7 has others, and training may have fitted them to your data): where the annotated picture "
        "shows boxes of wrong size, give the model's own, --head-option anchors=yolov7 or anchors=10x13,16x30,... "
        "(Darknet's YOLOv3 and YOLOv4 have such maps too, but other formulas: export those with their boxes decoded)"
    )
