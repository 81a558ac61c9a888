"""CenterNet: a heatmap whose peaks are objects, with distances to the box's sides, or its size and centre offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from sightd.errors import ModelError

from ..model.graft import Graft
from ..model.graph import Tensor
from .base import Anchors, Head, Signature, best_class
from .boxes import graft_corners

__all__ = ["CenterNetHead"]


@dataclass(frozen=True)
class CenterNetHead(Head):
    """A cell is an anchor; a class whose heat is not the greatest of its 3 x 3 neighbours scores 0 there.

    Two outputs (heatmap, distances): sides = cell * stride -+ distance, in input pixels, no half-cell added.
    Three outputs (heatmap, size, offset), as the paper has it: centre = cell + offset, all in cells.
    """

    classes: int
    stride: int
    channels_last: bool
    #: Places of the heatmap and of distances, or of size and offset, among the outputs.
    places: Tuple[int, ...]
    #: The heatmap leaves the model before its sigmoid.
    logits: bool

    family: ClassVar[str] = "centernet"
    layout: ClassVar[str] = (
        "heatmap [batch, rows, columns, classes] and distances [.., 4], or heatmap, size [.., 2] and offset [.., 2]; "
        "channels last or first, the grid a whole fraction of the input"
    )

    @property
    def preset(self) -> str:
        return "centernet" if len(self.places) == 3 else "centernet-distances"

    @property
    def columns(self) -> int:
        """Cells in a row of the grid."""
        return self.width // self.stride

    @classmethod
    def fit(cls, signature: Signature, options: Mapping[str, str]) -> CenterNetHead:
        found = [head for last in (True, False) for head in _fits(signature, channels_last=last)]
        if len(found) != 1:
            raise ModelError(f"centernet needs {cls.layout}")
        return found[0]

    def graft(self, graft: Graft, outputs: Sequence[str]) -> Anchors:
        heat, *rest = [outputs[place] for place in self.places]
        if self.channels_last:
            heat = graft.add("Transpose", heat, perm=[0, 3, 1, 2])
        else:
            rest = [graft.add("Transpose", tensor, perm=[0, 2, 3, 1]) for tensor in rest]
        if self.logits:
            heat = graft.add("Sigmoid", heat)
        around = graft.add("MaxPool", heat, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        # A product, for a Where takes ONNX Runtime six times as long as Cast and Mul.
        peaks = graft.add("Mul", heat, graft.add("Cast", graft.add("Equal", heat, around), to=TensorProto.FLOAT))
        # Rows of classes before the best is sought: over the first axis ONNX Runtime takes four times as long.
        shape = graft.constant(np.array([-1, self.anchors, self.classes], np.int64))
        scores = graft.add("Reshape", graft.add("Transpose", peaks, perm=[0, 2, 3, 1]), shape)
        return Anchors(self._graft_boxes(graft, rest), *best_class(graft, scores))

    def decode(self, outputs: Sequence[NDArray[np.float32]]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
        planes = [outputs[place] for place in self.places]
        if not self.channels_last:
            planes = [plane.transpose(1, 2, 0) for plane in planes]
        heat = np.float32(1) / (1 + np.exp(-planes[0])) if self.logits else planes[0]
        scores = np.where(heat == _greatest_of_neighbours(heat), heat, 0).reshape(self.anchors, self.classes)
        values = np.concatenate(planes[1:], axis=2).reshape(self.anchors, 4)
        x, y = np.arange(self.anchors) % self.columns, np.arange(self.anchors) // self.columns
        if len(planes) == 2:
            left, top, right, bottom = values.T
            x, y = x * self.stride, y * self.stride
            return np.stack([x - left, y - top, x + right, y + bottom], axis=1).astype(np.float32), scores
        w, h, dx, dy = values.T
        corners = np.stack([x + dx - w / 2, y + dy - h / 2, x + dx + w / 2, y + dy + h / 2], axis=1)
        return (corners * self.stride).astype(np.float32), scores

    def _graft_boxes(self, graft: Graft, planes: Sequence[str]) -> str:
        """[N, A, 4] from distances, or size and offset, given as [N, rows, columns, 4 or 2]."""
        places = np.arange(self.anchors)
        cells = np.stack([places % self.columns, places // self.columns], axis=-1)[None].astype(np.float32)
        values = 4 if len(planes) == 1 else 2
        shape = graft.constant(np.array([-1, self.anchors, values], np.int64))
        flat = [graft.add("Reshape", plane, shape) for plane in planes]
        if values == 4:
            signed = graft.add("Mul", flat[0], graft.constant(np.array([-1, -1, 1, 1], np.float32)))
            return graft.add("Add", signed, graft.constant(np.tile(cells * self.stride, 2).astype(np.float32)))
        size, offset = flat
        centre = graft.add("Add", offset, graft.constant(cells))
        return graft.add("Mul", graft_corners(graft, centre, size), graft.constant(np.array(self.stride, np.float32)))


def _fits(signature: Signature, *, channels_last: bool) -> List[CenterNetHead]:
    """The head with its channels at that place, if the outputs allow it: none or one."""
    outputs = signature.outputs
    if len(outputs) not in (2, 3) or any(len(output.shape) != 4 for output in outputs):
        return []
    grids = [_rows_columns_channels(output, channels_last) for output in outputs]
    rows, columns, _ = grids[0]
    stride = signature.width // max(columns, 1)
    size = columns * stride, rows * stride
    if any(grid[:2] != (rows, columns) for grid in grids) or size != (signature.width, signature.height):
        return []
    channels = [grid[2] for grid in grids]
    places = _roles(outputs, channels)
    if not places:
        return []
    heatmap = outputs[places[0]]
    logits = "Sigmoid" not in signature.behind[heatmap.name]
    assumptions = _assumptions([outputs[place].name for place in places[1:]])
    classes = channels[places[0]]
    return [CenterNetHead(*size, rows * columns, classes, assumptions, stride, channels_last, places, logits)]


def _rows_columns_channels(output: Tensor, channels_last: bool) -> Tuple[int, int, int]:
    _, a, b, c = (dim or 0 for dim in output.shape)
    return (a, b, c) if channels_last else (b, c, a)


def _roles(outputs: Sequence[Tensor], channels: Sequence[int]) -> Tuple[int, ...]:
    """Places of the heatmap and of distances, or of size and offset; empty where the channels don't tell."""
    box_channels = 4 if len(outputs) == 2 else 2
    places = range(len(outputs))
    heatmaps = [place for place in places if all(channels[other] == box_channels for other in places if other != place)]
    if len(heatmaps) > 1:  # as many classes as box channels: the name decides
        heatmaps = [place for place in heatmaps if _is_heatmap(outputs[place].name)]
    if len(heatmaps) != 1:
        return ()
    rest = [place for place in places if place not in heatmaps]
    if _is_size(outputs[rest[-1]].name):
        rest.reverse()
    return heatmaps[0], *rest


def _assumptions(names: Sequence[str]) -> Tuple[str, ...]:
    if len(names) == 1 or _is_size(names[0]):
        return ()
    return (f"the first of two outputs with two channels ({names[0]!r}) is taken as box size, the other as offset",)


def _is_heatmap(name: str) -> bool:
    return "hm" in name.lower() or "heat" in name.lower()


def _is_size(name: str) -> bool:
    return "wh" in name.lower() or "size" in name.lower()


def _greatest_of_neighbours(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maximum of each 3 x 3 neighbourhood of [rows, columns, C]."""
    rows, columns, _ = heat.shape
    padded = np.pad(heat, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    greatest: NDArray[np.float32] = np.max(
        [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0
    )
    return greatest
