"""What Ultralytics' exporter writes into an ONNX model's metadata: names, task, stride, imgsz."""

from __future__ import annotations

import ast
from typing import Mapping, Optional

import onnx

from sightd.errors import ModelError

from ..heads.tasks import refusal
from .graph import metadata

__all__ = ["check_metadata", "literal", "metadata_size", "metadata_spec"]

_AUTHOR, _CLASSIFY = "Ultralytics", "classify"
#: Some thousand names. Longer text that is no literal ("1+1+1...") overflows the stack of Python before 3.12.
_MAX_BYTES = 128 << 10


def check_metadata(model: onnx.ModelProto, width: int, height: int) -> None:
    """Hold the metadata against a detector or classifier with an input of that size.

    :raises ModelError: the model is for another task, or its stride does not divide the size.
    """
    task = metadata(model, "task")
    if task not in (None, "detect", _CLASSIFY) and metadata(model, "author") == _AUTHOR:
        raise ModelError(f"by its metadata {refusal(str(task))}")
    stride = literal(model, "stride")
    if isinstance(stride, int) and stride > 0 and (width % stride or height % stride):
        up = [-(-side // stride) * stride for side in (width, height)]
        raise ModelError(
            f"an input of {width}x{height} can't be divided by the model's stride, {stride} by its metadata: "
            f"give --size {up[0]}x{up[1]}"
        )


def metadata_size(model: onnx.ModelProto) -> Mapping[str, int]:
    """Width and height of the input that the model was exported with, "imgsz"; empty where that is not told."""
    size = literal(model, "imgsz")
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        return {}
    return {"width": sides[1], "height": sides[0]}


def metadata_spec(model: onnx.ModelProto) -> Mapping[str, object]:
    """Fields of InputSpec: its classifiers are trained without the mean and deviation that others have."""
    if metadata(model, "task") == _CLASSIFY and metadata(model, "author") == _AUTHOR:
        return {"mean": (0, 0, 0), "std": (1, 1, 1)}
    return {}


def literal(model: onnx.ModelProto, key: str) -> Optional[object]:
    """The value of a metadata property written as a Python literal; None where there is none, or no literal."""
    text = metadata(model, key)
    try:
        return None if text is None or len(text) > _MAX_BYTES else ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # TypeError: a list as key
        return None
