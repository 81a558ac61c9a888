"""The default boxes of SSD detectors, which their graphs leave out: three published generators."""

from __future__ import annotations

import math
from typing import Callable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["GENERATORS", "Boxes"]

#: [A, 4]: centre x, centre y, width, height as fractions of the input, in the order of the outputs.
Boxes = NDArray[np.float64]

_LAYERS = 6
_Shapes = List[Tuple[float, float]]


def _torchvision_ssd300(width: int, height: int) -> Optional[Boxes]:
    """Those of torchvision's ssd300_vgg16; only its own input has these grids.

    https://github.com/pytorch/vision/blob/main/torchvision/models/detection/ssd.py
    """
    if (width, height) != (300, 300):
        return None
    scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    steps = [8, 16, 32, 64, 100, 300]
    shapes = [_paired_shapes(scales, k, [2] if k in (0, 4, 5) else [2, 3]) for k in range(_LAYERS)]
    grids = [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    return np.concatenate([_tiled(g, (300 / s, 300 / s), shape) for g, s, shape in zip(grids, steps, shapes)])


def _torchvision_ssdlite(width: int, height: int) -> Optional[Boxes]:
    """Those of torchvision's ssdlite320_mobilenet_v3_large.

    https://github.com/pytorch/vision/blob/main/torchvision/models/detection/ssdlite.py
    """
    scales = [*np.linspace(0.2, 0.95, _LAYERS), 1.0]
    shapes = [_paired_shapes(scales, k, [2, 3]) for k in range(_LAYERS)]
    return np.concatenate([_tiled(grid, grid, shape) for grid, shape in zip(_halving_grids(width, height), shapes)])


def _tensorflow(width: int, height: int) -> Optional[Boxes]:
    """ssd_anchor_generator of TensorFlow's detection API with its usual settings: 1917 boxes at 300 x 300.

    https://github.com/tensorflow/models/blob/master/research/object_detection/anchor_generators/
    multiple_grid_anchor_generator.py
    """
    scales = [*np.linspace(0.2, 0.95, _LAYERS), 1.0]
    # A square anchor is square in pixels of the input too.
    unit_w, unit_h = min(width, height) / width, min(width, height) / height
    layers = []
    for k, grid in enumerate(_halving_grids(width, height)):
        scale, between = scales[k], math.sqrt(scales[k] * scales[k + 1])
        specs = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        if k > 0:
            specs = [*((scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)), (between, 1.0)]
        layers.append(_tiled(grid, grid, [(s * math.sqrt(r) * unit_w, s / math.sqrt(r) * unit_h) for s, r in specs]))
    return np.concatenate(layers)


def _paired_shapes(scales: Sequence[float], layer: int, ratios: Sequence[int]) -> _Shapes:
    """Widths and heights of torchvision's boxes in a cell of *layer*, none larger than the input."""
    scale, between = scales[layer], math.sqrt(scales[layer] * scales[layer + 1])
    shapes = [(scale, scale), (between, between)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        shapes += [(long, short), (short, long)]
    return [(min(w, 1.0), min(h, 1.0)) for w, h in shapes]


def _halving_grids(width: int, height: int) -> List[Tuple[int, int]]:
    """Columns and rows of MobileNet's features at stride 16 and of the five layers behind, halved each, rounded up."""
    return [(-(-width // (16 << k)), -(-height // (16 << k))) for k in range(_LAYERS)]


def _tiled(grid: Tuple[int, int], cells: Tuple[float, float], shapes: _Shapes) -> Boxes:
    """Every shape at every cell's centre, shapes varying fastest, then columns; *cells* fit into the input's sides."""
    y, x = np.mgrid[: grid[1], : grid[0]].reshape(2, -1) + 0.5
    centres = np.stack([x / cells[0], y / cells[1]], axis=1).repeat(len(shapes), axis=0)
    return np.concatenate([centres, np.tile(np.array(shapes), (x.size, 1))], axis=1)


#: Name -> the boxes for an input of that width and height, None where the model has no such input.
GENERATORS: Mapping[str, Callable[[int, int], Optional[Boxes]]] = {
    "torchvision-ssd300": _torchvision_ssd300,
    "torchvision-ssdlite": _torchvision_ssdlite,
    "tensorflow": _tensorflow,
}
