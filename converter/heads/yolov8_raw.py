"""YOLOv8's own predictions, cut before decoding: a distribution for each side of a box, and logits of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from ..model.graph import Tensor
from .base import Anchors, Head, Signature, best_class
from .grids import Grid, cells, maps_on_grids

__all__ = ["Yolov8RawHead"]

_REG_MAX = 16


@dataclass(frozen=True)
class Yolov8RawHead(Head):
    """For each grid [B, 4 * R + C, rows, columns], or boxes [B, 4 * R, ..] and classes [B, C, ..]; a cell is an anchor.

    Decoding as in Ultralytics' ``Detect``: a side's distance is the mean of its R bins 0, 1 .. R - 1 weighted by their
    softmax (distribution focal loss, arXiv 2006.04388), box = (cell + 0.5 -+ distances) * stride.
    """

    classes: int
    grids: Tuple[Grid, ...]
    #: For each grid the places of its one map, or of boxes and classes, among the outputs.
    places: Tuple[Tuple[int, ...], ...]
    #: R; 1 is a distance itself.
    reg_max: int
    #: The classes leave the model before their sigmoid.
    logits: bool

    family: ClassVar[str] = "yolov8-raw"
    layout: ClassVar[str] = (
        "for each grid of strides 8, 16, 32 (and 64, or 4) one map [batch, 4 * reg_max + classes, rows, columns], or "
        "two, [batch, 4 * reg_max, ..] and [batch, classes, ..]; reg_max is 16 unless the option says otherwise"
    )
    options: ClassVar[Tuple[str, ...]] = ("reg_max",)

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> Yolov8RawHead:
        size, outputs = (signature.width, signature.height), signature.outputs
        reg_max = _reg_max(options)
        grids, found = maps_on_grids(*size, outputs) if all(len(one.shape) == 4 for one in outputs) else ((), [])
        places = tuple(_roles(signature, level, 4 * reg_max) for level in found)
        classes = {sum(outputs[place].shape[1] or 0 for place in level) - 4 * reg_max for level in places}
        if not grids or () in places or len(classes) != 1 or len(set(map(len, places))) != 1 or min(classes) < 1:
            raise ModelError(f"yolov8-raw needs {cls.layout}; at {size[0]}x{size[1]} input, reg_max is {reg_max}")
        logits = len(places[0]) == 1 or not _is_sigmoided(signature, outputs[places[0][1]])
        anchors = sum(grid.cells for grid in grids)
        return cls(*size, anchors, classes.pop(), (), grids, places, reg_max, logits)

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        """Also what is before each map: of boxes and classes in one, layers of their own are joined."""
        return super().matches(signature) and (
            len(signature.outputs) != len(cls.fit(signature, {}).grids)
            or all("Concat" in behind and "Sigmoid" not in behind for behind in signature.behind.values())
        )

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        levels = []
        for grid, places in zip(self.grids, self.places):
            maps = [outputs[place] for place in places]
            joined = maps[0] if len(maps) == 1 else graft.add("Concat", *maps, axis=1)
            shape = graft.constant(np.array([-1, 4 * self.reg_max + self.classes, grid.cells], np.int64))
            levels.append(graft.add("Reshape", joined, shape))
        rows = graft.add("Transpose", graft.add("Concat", *levels, axis=2), perm=[0, 2, 1])
        box, scores = graft.split(rows, (4 * self.reg_max, self.classes), 2)
        best, classes = best_class(graft, scores)  # a sigmoid keeps the order of the classes
        best = graft.add("Sigmoid", best) if self.logits else best
        return Anchors(self._graft_boxes(graft, box), best, classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = [], []
        for grid, places in zip(self.grids, self.places):
            plane = np.concatenate([outputs[place] for place in places]).astype(np.float64)
            bins = np.exp(plane[: 4 * self.reg_max].reshape(4, self.reg_max, grid.rows, grid.columns))
            left, top, right, bottom = (
                np.tensordot(np.arange(self.reg_max), bins, (0, 1)) / bins.sum(axis=1)
                if self.reg_max > 1
                else plane[:4]
            )
            y, x = np.indices((grid.rows, grid.columns)) + 0.5
            corners = np.stack([x - left, y - top, x + right, y + bottom], axis=-1) * grid.stride
            values = plane[4 * self.reg_max :]
            boxes.append(corners.reshape(-1, 4))
            scores.append((1 / (1 + np.exp(-values)) if self.logits else values).reshape(self.classes, -1).T)
        return np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)

    def _graft_boxes(self, graft: Graft, box: str) -> str:
        """[N, A, 4] from the bins [N, A, 4 * R]."""
        if self.reg_max > 1:
            bins = graft.add("Reshape", box, graft.constant(np.array([-1, self.anchors, 4, self.reg_max], np.int64)))
            places = graft.constant(np.arange(self.reg_max, dtype=np.float32)[:, None])
            mean = graft.add("MatMul", graft.add("Softmax", bins, axis=3), places)
            box = graft.add("Reshape", mean, graft.constant(np.array([-1, self.anchors, 4], np.int64)))
        cell, stride = cells(self.grids)
        signed = graft.add("Mul", box, graft.constant(np.array([-1, -1, 1, 1], np.float32)))
        centre = graft.constant(np.tile(cell + np.float32(0.5), 2)[None])
        return graft.add("Mul", graft.add("Add", signed, centre), graft.constant(stride[None]))


def _roles(signature: Signature, level: Sequence[int], box_channels: int) -> Tuple[int, ...]:
    """Of one grid's maps the place of the only one, or those of boxes and classes; empty where they don't tell.

    A third map of one channel is passed over: exports for Rockchip's NPU have the sum of the class scores there.
    """
    outputs = signature.outputs
    if len(level) == 1:
        return tuple(level)
    # There may be as many classes as bins: they may be behind a sigmoid, which bins never are.
    raw = [place for place in level if not _is_sigmoided(signature, outputs[place])]
    boxes = [place for place in raw if outputs[place].shape[1] == box_channels]
    if len(boxes) != 1 or len(level) > 3:
        return ()
    rest = [place for place in level if place not in boxes]
    return (boxes[0], rest[0]) if len(rest) == 1 or outputs[rest[1]].shape[1] == 1 else ()


def _is_sigmoided(signature: Signature, output: Tensor) -> bool:
    return "Sigmoid" in signature.behind[output.name]


def _reg_max(options: Mapping[str, str]) -> int:
    text = options.get("reg_max", str(_REG_MAX))
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ModelError(f"head option reg_max is {text!r}, must be the number of bins a side, 1 to 64")
    return int(text)
