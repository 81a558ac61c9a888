"""The pyramid of grids that YOLO's heads predict on, and how an output is told to lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..model.graph import Tensor

__all__ = ["PYRAMIDS", "Grid", "anchors_a_cell", "beside_maps", "cells", "maps_on_grids", "pyramid", "pyramid_of"]

#: The strides of models with three levels (P5), with a coarser (P6) or a finer (P2) one more, and of YOLOv3-tiny.
PYRAMIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True)
class Grid:
    """One level."""

    #: Input pixels from one cell to the next.
    stride: int
    columns: int
    rows: int

    @property
    def cells(self) -> int:
        """How many they are, row by row."""
        return self.columns * self.rows


def pyramid(width: int, height: int, strides: Sequence[int]) -> Tuple[Grid, ...]:
    """The grids over an input of that size; what a stride does not divide rounds up, as its convolutions do."""
    return tuple(Grid(stride, -(-width // stride), -(-height // stride)) for stride in strides)


def pyramid_of(width: int, height: int, count: Optional[float]) -> Tuple[Grid, ...]:
    """The grids that have *count* cells together; none where there are no such."""
    pyramids = (pyramid(width, height, strides) for strides in PYRAMIDS)
    return next((grids for grids in pyramids if sum(grid.cells for grid in grids) == count), ())


def anchors_a_cell(width: int, height: int, count: Optional[int]) -> int:
    """1 or 3, where *count* anchors are so many for each cell of a pyramid; 0 where they are not."""
    return next((each for each in (1, 3) if count and pyramid_of(width, height, count / each)), 0)


def cells(grids: Sequence[Grid]) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every cell's column and row [A, 2] and stride [A, 1], level by level, row by row."""
    places = [(column, row) for grid in grids for row in range(grid.rows) for column in range(grid.columns)]
    strides = [grid.stride for grid in grids for _ in range(grid.cells)]
    return np.array(places, np.float32).reshape(-1, 2), np.array(strides, np.float32).reshape(-1, 1)


def maps_on_grids(width: int, height: int, outputs: Sequence[Tensor]) -> Tuple[Tuple[Grid, ...], List[List[int]]]:
    """The pyramid whose grids the *outputs* cover, and for each grid the places of its outputs; none where they don't.

    :param outputs: [batch, .., rows, columns] or [batch, .., rows, columns, ..].
    """
    found: Dict[Tuple[Optional[int], ...], List[int]] = {}
    for place, output in enumerate(outputs):
        found.setdefault(output.shape[2:4], []).append(place)
    for strides in PYRAMIDS:
        grids = pyramid(width, height, strides)
        sizes = [(grid.rows, grid.columns) for grid in grids]
        if set(sizes) == set(found) and len(set(sizes)) == len(sizes):
            return grids, [found[size] for size in sizes]
    return (), []


def beside_maps(width: int, height: int, outputs: Sequence[Tensor]) -> Optional[int]:
    """The place of the one output of three dimensions; None where there are several or none.

    What else there is must be the maps that it was made of: exporters that run the whole module write them too.
    """
    places = [place for place, output in enumerate(outputs) if len(output.shape) == 3]
    others = [output for output in outputs if len(output.shape) != 3]
    on_grids = not others or maps_on_grids(width, height, others)[0]
    return places[0] if len(places) == 1 and on_grids else None
