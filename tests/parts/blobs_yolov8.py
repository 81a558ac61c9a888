"""A detector of the blobs in tests.parts.blobs as YOLOv8 exports one, weights by hand, with Ultralytics' metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np
from numpy.typing import NDArray

from tests.parts.models import HEIGHT, WIDTH, Net
from tests.parts.yolo_models import decoded_yolov8

__all__ = ["METADATA", "blob_yolov8"]

METADATA: Mapping[str, str] = {
    "author": "Ultralytics",
    "task": "detect",
    "stride": "32",
    "imgsz": f"[{HEIGHT}, {WIDTH}]",
    "names": "{0: 'white', 1: 'green'}",
}
_REG_MAX = 16
_NEVER = -20.0


def blob_yolov8(path: Path) -> Path:
    """[1, 6, A] of [1, 3, HEIGHT, WIDTH] RGB 0..1; the grid of stride 8 detects, the two coarser ones never do."""
    net = Net(name="images")
    tensor = "images"
    blur = np.einsum("oi,hw->oihw", np.eye(3), np.full((3, 3), 1 / 9)).astype(np.float32)
    for stride in (2, 2, 2, 1):  # a blob becomes a peak at its middle
        blurred = net.add("Conv", tensor, net.constant(blur), pads=[1, 1, 1, 1], strides=[stride, stride])
        tensor = net.add("Relu", blurred)
    maps = []
    for stride in (8, 16, 32):
        level = tensor if stride == 8 else net.add("MaxPool", tensor, kernel_shape=[1, 1], strides=[stride // 8] * 2)
        sides = net.add("Conv", level, net.constant(np.zeros((4 * _REG_MAX, 3, 1, 1), np.float32)), _distance(net))
        # Class 0 wants red, green and blue, more than the letterbox's grey has; class 1 green without the others.
        colours = np.array([[20, 20, 20], [-20, 20, -20]], np.float32).reshape(2, 3, 1, 1)
        bias = np.array([-35, -8] if stride == 8 else [_NEVER] * 2, np.float32)
        scores = net.add("Conv", level, net.constant(colours * (stride == 8)), net.constant(bias))
        maps.append(net.add("Concat", sides, scores, axis=1))
    path.write_bytes(net.model([decoded_yolov8(net, maps, classes=2, reg_max=_REG_MAX)], METADATA).SerializeToString())
    return path


def _distance(net: Net) -> str:
    """The bias that says, for each side, a distance of one cell and three quarters."""
    share: NDArray[np.float64] = np.full(_REG_MAX, np.exp(_NEVER))
    share[1:3] = 0.25, 0.75
    return net.constant(np.tile(np.log(share), 4).astype(np.float32))
