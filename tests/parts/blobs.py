"""A tiny real detector and pictures to detect on: white squares are class 0, green ones class 1."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightd.types import Image

__all__ = ["LABELS", "blob_detector", "blob_picture", "write_blob_clip", "write_blob_pictures"]

LABELS = ["white", "green"]
SIZE = 96
_CELL = 4
_SQUARE = 16


def blob_picture(seed: int, squares: int = 5) -> Image:
    """[96, 96, 3] uint8 BGR: *squares* squares of 16 pixels that do not touch, on a noisy dark ground."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 40, (SIZE, SIZE, 3)).astype(np.uint8)
    for place in rng.permutation(9)[:squares]:
        x, y = (np.array([place % 3, place // 3]) * 32 + rng.integers(2, 14, 2)).tolist()
        picture[y : y + _SQUARE, x : x + _SQUARE] = (230, 230, 230) if rng.random() < 0.5 else (10, 220, 10)
    return picture


def write_blob_pictures(folder: Path, count: int) -> Path:
    """*count* different pictures as PNG files."""
    folder.mkdir(parents=True)
    for seed in range(count):
        cv2.imwrite(str(folder / f"{seed:04}.png"), blob_picture(seed))
    return folder


def write_blob_clip(path: Path, count: int, fps: float = 20.0) -> Path:
    """The same pictures as an MJPG AVI."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (SIZE, SIZE))
    assert writer.isOpened(), f"OpenCV can't write {path}"
    for seed in range(count):
        writer.write(blob_picture(seed))
    writer.release()
    return path


def blob_detector(path: Path, *, dead: bool = False) -> Path:
    """A CenterNet-like model of seven convolutions, input [1, 96, 96, 3] RGB 0..255; a *dead* one finds nothing."""
    weights = {
        "blur1": _per_channel(3, 1 / 9, 1 / 255),
        "blur2": _per_channel(3, 1 / 9),
        "blur3": _per_channel(3, 1 / 9),
        "blur4": _per_channel(3, 1 / 9),
        "blur5": _per_channel(3, 1 / 9),
        # Class 0 wants all of red, green and blue, class 1 green without the others.
        "heat": np.array([[3.0, 3.0, 3.0], [-9.0, 9.0, -9.0]], np.float32).reshape(2, 3, 1, 1) * (not dead),
        "heat_bias": np.array([-5.0, -4.0], np.float32),
        "sides": np.zeros((4, 3, 1, 1), np.float32),
        "sides_bias": np.full(4, _SQUARE / 2, np.float32),
    }
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], "t0", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "blur1"], ["c1"], "conv1", strides=[1, 1], **conv),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "blur2"], ["c2"], "conv2", strides=[2, 2], **conv),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "blur3"], ["c3"], "conv3", strides=[2, 2], **conv),
        helper.make_node("Relu", ["c3"], ["r3"], "relu3"),
        helper.make_node("Conv", ["r3", "blur4"], ["c4"], "conv4", strides=[1, 1], **conv),
        helper.make_node("Conv", ["c4", "blur5"], ["c5"], "conv5", strides=[1, 1], **conv),
        helper.make_node("Conv", ["c5", "heat", "heat_bias"], ["logits"], "predict_heat", kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["logits"], ["heat_nchw"], "sigmoid"),
        helper.make_node("Transpose", ["heat_nchw"], ["heatmap"], "t1", perm=[0, 2, 3, 1]),
        helper.make_node("Conv", ["c5", "sides", "sides_bias"], ["sides_nchw"], "predict_sides", kernel_shape=[1, 1]),
        helper.make_node("Transpose", ["sides_nchw"], ["ltrb"], "t2", perm=[0, 2, 3, 1]),
    ]
    cells = SIZE // _CELL
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, cells, cells, 2]),
            helper.make_tensor_value_info("ltrb", TensorProto.FLOAT, [1, cells, cells, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _per_channel(channels: int, value: float, scale: float = 1.0) -> NDArray[np.float32]:
    """A 3 x 3 box blur that leaves the channels apart."""
    weights = np.zeros((channels, channels, 3, 3), np.float32)
    for channel in range(channels):
        weights[channel, channel] = value * scale
    return weights


def names(path: Path) -> Path:
    """The labels as a file for --labels."""
    path.write_text("\n".join(LABELS) + "\n")
    return path
