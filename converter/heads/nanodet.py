"""NanoDet and NanoDet-Plus: class scores and distributions of the distances to a box's sides, a cell an anchor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from ..model.graft import Graft
from ..model.graph import Tensor
from .base import Anchors, Head, Signature, best_class
from .boxes import option
from .grids import cells, pyramid

__all__ = ["NanoDetHead"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
#: Of the published models: most, and NanoDet-g and -RepVGG.
_REG_MAX = (7, 10)


@dataclass(frozen=True)
class NanoDetHead(Head):
    """[B, A, C + 4 * (R + 1)], classes first, or for each stride classes [B, a, C] and distances [B, a, 4 * (R + 1)].

    Decoding as in NanoDet: a side lies as many strides from the cell's point as the mean of its distribution over 0..R
    says; the point is the cell's centre in NanoDet (three strides), its corner in NanoDet-Plus (four).
    https://github.com/RangiLyu/nanodet/blob/main/nanodet/model/head/nanodet_plus_head.py
    """

    classes: int
    strides: Tuple[int, ...]
    #: Places of each stride's classes and distances among the outputs; empty where all are in one.
    places: Tuple[Tuple[int, int], ...]
    reg_max: int
    #: Where in its cell a point lies, in cells.
    offset: float
    #: Classes leave the model before their sigmoid.
    logits: bool
    #: The outputs are planes, [B, channels, rows, columns].
    planes: bool

    family: ClassVar[str] = "nanodet"
    layout: ClassVar[str] = (
        "one output [batch, anchors, classes + 4 * (reg_max + 1)], as many anchors as the grids of strides 8, 16, 32 "
        "(64) have cells, or for each stride classes [batch, cells, classes] behind a sigmoid and distances [batch, "
        "cells, 4 * (reg_max + 1)]"
    )
    options: ClassVar[Tuple[str, ...]] = ("reg_max", "cell_offset")

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> NanoDetHead:
        given = _whole_number(options, "reg_max")
        size = signature.width, signature.height
        allowed = _REG_MAX if given is None else (given,)
        for strides in _STRIDES:
            grid_cells = [grid.cells for grid in pyramid(*size, strides)]
            if len(signature.outputs) == 1:
                found = _joined(signature, sum(grid_cells), allowed)
            else:
                found = _split(signature, grid_cells, allowed)
            if found:
                classes, reg_max, places = found
                scores = signature.outputs[places[0][0] if places else 0].name
                offset = float(option(options, "cell_offset", ("0", "0.5"), "0.5" if len(strides) == 3 else "0"))
                logits = "Sigmoid" not in signature.behind[scores]
                planes = len(signature.outputs[0].shape) == 4
                return cls(*size, sum(grid_cells), classes, (), strides, places, reg_max, offset, logits, planes)
        raise ModelError(f"nanodet needs {cls.layout}")

    @classmethod
    def matches(cls, signature: Signature) -> bool:
        if not super().matches(signature) or len(signature.outputs) > 1:
            return super().matches(signature)
        # YOLOX has as many anchors: its last columns are scores, these are logits, and what is first are scores.
        name, classes = signature.outputs[0].name, cls.fit(signature, {}).classes
        behind, (lowest, _) = signature.behind[name], signature.range_of(name, slice(classes, None))
        scored = signature.are_scores(name, slice(classes)) and "Sigmoid" in behind
        return scored and lowest < 0 and "Softmax" not in behind

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        bins = 4 * (self.reg_max + 1)
        if self.places:
            scores, sides = (
                self._graft_levels(graft, outputs, kind, width) for kind, width in ((0, self.classes), (1, bins))
            )
        else:
            scores, sides = graft.split(outputs[0], (self.classes, bins), 2)
        best, classes = best_class(graft, scores)
        if self.logits:  # of the best only: it keeps the order of the classes
            best = graft.add("Sigmoid", best)
        return Anchors(self._graft_boxes(graft, sides), best, classes)

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self.places:
            levels = [[_rows(outputs[place]) for place in pair] for pair in self.places]
            scores, sides = (np.concatenate(parts).astype(np.float64) for parts in zip(*levels))
        else:
            scores, sides = np.split(outputs[0].astype(np.float64), [self.classes], axis=1)
        if self.logits:
            scores = 1 / (1 + np.exp(-scores))
        bins = sides.reshape(self.anchors, 4, self.reg_max + 1)
        raised = np.exp(bins - bins.max(axis=2, keepdims=True))
        means = (raised * np.arange(self.reg_max + 1)).sum(axis=2) / raised.sum(axis=2)
        points = [
            ((x + self.offset) * stride, (y + self.offset) * stride, stride)
            for stride in self.strides
            for y in range(math.ceil(self.height / stride))
            for x in range(math.ceil(self.width / stride))
        ]
        x, y, stride = np.array(points).T
        left, top, right, bottom = means.T * stride
        boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
        limits = [self.width, self.height, self.width, self.height]
        return np.clip(boxes, 0, limits).astype(np.float32), scores.astype(np.float32)

    def _graft_levels(self, graft: Graft, outputs: Sequence[str], kind: int, channels: int) -> str:
        """[N, A, channels] of one kind of output (0 classes, 1 distances), all strides."""
        levels = [outputs[pair[kind]] for pair in self.places]
        if self.planes:
            shape = graft.constant(np.array([0, channels, -1], np.int64))
            flat = [graft.add("Reshape", level, shape) for level in levels]
            levels = [graft.add("Transpose", level, perm=[0, 2, 1]) for level in flat]
        return graft.add("Concat", *levels, axis=1)

    def _graft_boxes(self, graft: Graft, sides: str) -> str:
        """[N, A, 4] from logits [N, A, 4 * (R + 1)]."""
        shape = graft.constant(np.array([-1, self.anchors, 4, self.reg_max + 1], np.int64))
        shares = graft.add("Softmax", graft.add("Reshape", sides, shape), axis=3)
        bins = graft.constant(np.arange(self.reg_max + 1, dtype=np.float32)[:, None])
        flat = graft.constant(np.array([-1, self.anchors, 4], np.int64))
        means = graft.add("Reshape", graft.add("MatMul", shares, bins), flat)
        places, strides = cells(pyramid(self.width, self.height, self.strides))
        points = np.tile((places + np.float32(self.offset)) * strides, 2)[None]
        signed = graft.add("Mul", means, graft.constant((strides * np.array([-1, -1, 1, 1], np.float32))[None]))
        boxes = graft.add("Add", signed, graft.constant(points))
        limits = np.array([self.width, self.height] * 2, np.float32)
        inside = graft.add("Max", boxes, graft.constant(np.zeros(4, np.float32)))
        return graft.add("Min", inside, graft.constant(limits))


_Found = Optional[Tuple[int, int, Tuple[Tuple[int, int], ...]]]


def _whole_number(options: Mapping[str, str], name: str) -> Optional[int]:
    """The head option *name*, None where it is not given.

    :raises ModelError: it is no number from 1.
    """
    value = options.get(name)
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise ModelError(f"head option {name} is {value!r}, must be a whole number from 1")
    return int(value)


def _joined(signature: Signature, anchors: int, allowed: Sequence[int]) -> _Found:
    """Classes, R and no places, if the output may hold all: the first R that leaves only scores to the classes."""
    output = signature.outputs[0]
    if len(output.shape) != 3 or output.shape[1] != anchors:
        return None
    options = [((output.shape[2] or 0) - 4 * (reg_max + 1), reg_max) for reg_max in allowed]
    possible = [(classes, reg_max) for classes, reg_max in options if classes > 0]
    fitting = [(classes, reg_max) for classes, reg_max in possible if signature.are_scores(output.name, slice(classes))]
    found = (fitting or possible)[:1]
    return (*found[0], ()) if found else None


def _split(signature: Signature, grid_cells: Sequence[int], allowed: Sequence[int]) -> _Found:
    """Classes, R and the places, if each of the grids has one output behind a sigmoid and one that is raw."""
    if len(signature.outputs) != 2 * len(grid_cells):
        return None
    scores: Dict[int, Tuple[int, int]] = {}
    sides: Dict[int, Tuple[int, int]] = {}
    for place, output in enumerate(signature.outputs):
        count, channels = _cells_channels(output, grid_cells)
        kind = scores if "Sigmoid" in signature.behind[output.name] else sides
        kind[count] = place, channels
    widths = [{channels for _, channels in kind.values()} for kind in (scores, sides)]
    if set(scores) != set(grid_cells) or set(sides) != set(grid_cells) or [len(width) for width in widths] != [1, 1]:
        return None
    classes, bins = (width.pop() for width in widths)
    if bins % 4 or bins // 4 - 1 not in allowed:
        return None
    return classes, bins // 4 - 1, tuple((scores[count][0], sides[count][0]) for count in grid_cells)


def _cells_channels(output: Tensor, grid_cells: Sequence[int]) -> Tuple[int, int]:
    """Cells and channels of [B, cells, channels] or of [B, channels, rows, columns]; 0 where it is neither."""
    dims: List[int] = [dim or 0 for dim in output.shape[1:]]
    if len(dims) == 2 and dims[0] in grid_cells:
        return dims[0], dims[1]
    if len(dims) == 3 and dims[1] * dims[2] in grid_cells:
        return dims[1] * dims[2], dims[0]
    return 0, 0


def _rows(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """[cells, channels] from that, or from [channels, rows, columns]."""
    return level if level.ndim == 2 else level.reshape(len(level), -1).T
