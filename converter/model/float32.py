"""A given model brought to float32: half-precision weights and inputs widened, whole pixels taken as numbers.

INT8 is calibrated in float32, and on a processor half precision is computed so anyway.
"""

from __future__ import annotations

import json
from typing import AbstractSet, Iterator, List, Tuple

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from sightd.errors import ModelError

from .graph import OUR_PREFIX, set_metadata
from .presets import INPUT_SPEC_KEY, recorded_spec
from .session import Session

__all__ = ["as_float32"]

_HALF = frozenset([TensorProto.FLOAT16])
_WHOLE = frozenset([TensorProto.UINT8])
#: Attributes that name the element type of what a node makes.
_TYPES = ("dtype", "to")
#: Of a model that takes pixels as they are.
_PIXELS = {"scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
_HALF_NOTE = "the model's float16 weights were converted to float32, which INT8 is calibrated in"
_WHOLE_NOTE = "the model takes uint8 pixels: scale 1, mean 0 and std 1 are taken for its input"


def as_float32(model: onnx.ModelProto) -> Tuple[onnx.ModelProto, List[str]]:
    """*model*, or a copy without half precision and with a float32 picture, and a sentence for each change.

    :raises ModelError: it computes with its uint8 input as such.
    """
    notes = []
    if any(kind in _HALF for kind in _kinds(model.graph)):
        model = _copy(model)
        _retype(model.graph, _HALF)
        notes.append(_HALF_NOTE)
    if _takes_pixels(model):
        model = _with_float_pixels(model)
        notes.append(_WHOLE_NOTE)
    return model, notes


def _takes_pixels(model: onnx.ModelProto) -> bool:
    """Whether a picture of uint8 goes in; what sightd has finished is refused elsewhere."""
    if any(node.name.startswith(OUR_PREFIX) for node in model.graph.node):
        return False
    return any(value.type.tensor_type.elem_type in _WHOLE for value in model.graph.input)


def _with_float_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = _copy(model)
    for value in changed.graph.input:
        _widen(value, _WHOLE)
    del changed.graph.value_info[:]
    try:
        Session(changed)  # finds whatever wants uint8
    except ModelError as error:
        raise ModelError(
            f"the model computes with its uint8 input before it casts it to float ({error}): "
            "export it again with a float32 input"
        ) from error
    set_metadata(changed, INPUT_SPEC_KEY, json.dumps({**_PIXELS, **recorded_spec(changed)}))
    return changed


def _retype(graph: onnx.GraphProto, kinds: AbstractSet[int]) -> None:
    """Make float32 of all tensors of *kinds*, in place, in bodies of If and Loop too."""
    for weights in graph.initializer:
        _convert(weights, kinds)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen(value, kinds)
    for attribute in _attributes(graph):
        if attribute.name in _TYPES and attribute.i in kinds:
            attribute.i = TensorProto.FLOAT
        if attribute.HasField("t"):
            _convert(attribute.t, kinds)
        if attribute.HasField("g"):
            _retype(attribute.g, kinds)


def _convert(tensor: onnx.TensorProto, kinds: AbstractSet[int]) -> None:
    if tensor.data_type in kinds:
        values = np.asarray(numpy_helper.to_array(tensor)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen(value: onnx.ValueInfoProto, kinds: AbstractSet[int]) -> None:
    if value.type.tensor_type.elem_type in kinds:
        value.type.tensor_type.elem_type = TensorProto.FLOAT


def _kinds(graph: onnx.GraphProto) -> Iterator[int]:
    """The element type of everything that is stored or declared."""
    yield from (weights.data_type for weights in graph.initializer)
    yield from (value.type.tensor_type.elem_type for value in (*graph.input, *graph.output))
    for attribute in _attributes(graph):
        if attribute.name in _TYPES:
            yield attribute.i
        if attribute.HasField("t"):
            yield attribute.t.data_type
        if attribute.HasField("g"):
            yield from _kinds(attribute.g)


def _attributes(graph: onnx.GraphProto) -> Iterator[onnx.AttributeProto]:
    return (attribute for node in graph.node for attribute in node.attribute)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
