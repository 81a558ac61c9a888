"""An ONNX model as surgery needs it: read, checked and brought to one dialect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Mapping, Optional, Tuple

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sightd.errors import ModelError

from .external_data import read_external_data
from .inputs import with_one_input
from .lower import lower
from .nms import without_nms
from .operators import check_operators
from .surgery import OUR_PREFIX, read_by

__all__ = [
    "OUR_PREFIX",
    "Tensor",
    "constants",
    "describe",
    "drop_unused_weights",
    "load_onnx",
    "metadata",
    "model_input",
    "normalise",
    "opset_of",
    "rename_tensors",
    "set_metadata",
]

# TensorRT 8.5 reads opset 17 and IR 8; per-channel quantisation needs opset 13.
_MIN_OPSET, _MAX_OPSET = 13, 17
_IR_VERSION = 8
_MAX_BYTES = 2 << 30  # protobuf's own limit
_DEFAULT_DOMAINS = ("", "ai.onnx")
_ELEMENT_TYPES = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}


@dataclass(frozen=True)
class Tensor:
    """A graph's input or output."""

    name: str
    #: NumPy's name of the element type, "float32" for instance.
    dtype: str
    #: None is a dimension that the graph leaves open.
    shape: Tuple[Optional[int], ...]

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype} [{', '.join('?' if dim is None else str(dim) for dim in self.shape)}]"


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file; weights in files beside it are read too.

    What is no part of a detector is taken off: inputs beside the picture, where they can be, and NMS.

    :raises ModelError: not there, too large, no ONNX, damaged, or with NMS in a form that can't be taken off.
    """
    try:
        if path.stat().st_size >= _MAX_BYTES:
            raise ModelError(f"{path}: 2 GiB or more, which ONNX can't hold in one file; give a smaller model")
        model = onnx.load(str(path), load_external_data=False)
        read_external_data(model, path, _MAX_BYTES)
        # A later one adds types and annotations of no use here, and parsers refuse it for its number alone; before the
        # fourth weights had to be inputs.
        model.ir_version = _IR_VERSION
        _check_opset(model, path)
        model = without_nms(with_one_input(_without_functions(model)))
        check_operators(model)
        _name_nodes(model.graph)  # ONNX Runtime runs no model with two of one name
        onnx.checker.check_model(model)
    except OSError as error:
        raise ModelError(
            f"{path}: can't be read ({error.strerror or error}); check the path and its permissions"
        ) from error
    except DecodeError as error:
        raise ModelError(
            f"{path}: not an ONNX file, or a truncated one; copy it again (PyTorch weights also need --factory)"
        ) from error
    except (onnx.checker.ValidationError, ValueError, KeyError) as error:  # KeyError: no such element type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: not a valid ONNX model ({reason}); export it again") from error
    return model


def normalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in the dialect that every engine reads: opset 13 to 17, IR 8, weights no inputs, unique node names.

    :raises ModelError: it can't be brought there.
    """
    converted = _with_opset(model)
    converted.ir_version = _IR_VERSION
    graph = converted.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    _name_nodes(graph)
    return converted


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    known = onnx.defs.onnx_opset_version()
    if opset_of(model) > known:
        raise ModelError(
            f"{path}: opset {opset_of(model)} is later than onnx {onnx.__version__} knows ({known}): install a newer "
            f"onnx, or export the model again with opset {_MIN_OPSET} to {_MAX_OPSET}"
        )


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """*model* with the body of each ONNX function in place of its calls: TensorRT 8.5 reads no functions."""
    if not model.functions:
        return model
    try:
        from onnx.inliner import inline_local_functions
    except ImportError as error:
        raise ModelError(
            f"the model holds ONNX functions, which onnx {onnx.__version__} can't resolve: install 1.15 or later, or "
            "export with dynamo=False"
        ) from error
    inlined: onnx.ModelProto = inline_local_functions(model)
    return inlined


def model_input(model: onnx.ModelProto) -> Tensor:
    """The picture's input.

    :raises ModelError: there is not exactly one input, or it is not float32 of rank 4.
    """
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [describe(value) for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        seen = ", ".join(tensor.name for tensor in inputs) or "none"
        raise ModelError(
            f"a detector has one input, the picture; this model has {len(inputs)} ({seen}): export it with the others "
            "as constants, and with a fixed size of the picture"
        )
    if inputs[0].dtype == "uint8" and any(node.name.startswith(OUR_PREFIX) for node in model.graph.node):
        raise ModelError("this graph was finished by sightd already; give the model as it was exported")
    if inputs[0].dtype != "float32" or len(inputs[0].shape) != 4:
        raise ModelError(
            f"the input is {inputs[0]}, must be float32 [batch, 3, height, width] or [batch, height, width, 3]: "
            "export the model again in float32"
        )
    return inputs[0]


def describe(value: onnx.ValueInfoProto) -> Tensor:
    """A graph's input or output as plain data."""
    tensor = value.type.tensor_type
    known = tensor.elem_type in _ELEMENT_TYPES
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if known else "unknown"
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim
    )
    return Tensor(value.name, dtype, shape)


def constants(graph: onnx.GraphProto) -> Dict[str, NDArray[np.generic]]:
    """The value of every tensor that is a weight, a Constant, or the Identity of one."""
    values = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                values[node.output[0]] = numpy_helper.to_array(attribute.t)
    return values


def metadata(model: onnx.ModelProto, key: str) -> Optional[str]:
    """The value of one of the model's metadata properties, None where it has none."""
    return next((entry.value for entry in model.metadata_props if entry.key == key), None)


def set_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    """Set one of the model's metadata properties, in place."""
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = value
            return
    model.metadata_props.add(key=key, value=value)


def rename_tensors(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors wherever nodes read or write them, bodies of If and Loop included."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                tensors[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename_tensors(attribute.g, names)
    for value in (*graph.initializer, *graph.output):
        value.name = names.get(value.name, value.name)


def drop_unused_weights(graph: onnx.GraphProto) -> None:
    """Remove the weights that no node reads, in place."""
    read = read_by(graph) | {value.name for value in graph.output}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that the model uses."""
    return max((entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS), default=0)


def _with_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose opset lies in 13 to 17; the model's own is kept where it does."""
    opset = opset_of(model)
    target = min(max(opset, _MIN_OPSET), _MAX_OPSET)
    if opset == target:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    if opset > target:
        return lower(model, opset, target)
    try:
        return onnx.version_converter.convert_version(model, target)
    except RuntimeError as error:  # the converter's C++ errors have no narrower class, and tell place: reason
        reason = str(error).strip().rsplit(": ", 1)[-1]
        raise ModelError(
            f"the model has opset {opset} and can't be converted to {target} ({reason}): "
            f"export it again with opset {_MIN_OPSET} to {_MAX_OPSET}"
        ) from error


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give nodes without a name, or with another's, one of their own: precision is kept by name."""
    taken = Counter(node.name for node in graph.node)
    for index, node in enumerate(graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.op_type}#{index}"
            while node.name in taken:
                node.name += "#"
