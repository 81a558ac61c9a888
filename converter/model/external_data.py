"""Weights in files beside an ONNX file: read only where the model's own folder holds them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Dict, Iterable, Iterator, List

import numpy as np
import onnx
from onnx import helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from sightd.errors import ModelError

__all__ = ["has_external_data", "read_external_data"]


def has_external_data(model: onnx.ModelProto) -> bool:
    """Whether weights of *model* lie in other files."""
    return bool(_external(model))


def read_external_data(model: onnx.ModelProto, path: Path, most_bytes: int) -> None:
    """Read the weights that lie beside *path* into *model*, in place.

    :param path: the model's file; the paths in it are relative to its folder.
    :raises ModelError: a path leads elsewhere, a file is missing or too short, a weight has more than it needs,
        or all is more than *most_bytes*.
    """
    tensors = _external(model)
    total = sum(_checked(tensor, path) for tensor in tensors)
    if total >= most_bytes:
        raise ModelError(
            f"{path}: its weights are {total >> 20} MiB, of {most_bytes >> 20} at most; give a smaller one"
        )
    for tensor in tensors:
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _checked(tensor: onnx.TensorProto, path: Path) -> int:
    """The bytes that *tensor* takes, of a file that may be read and holds them."""
    told: Dict[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location, folder = told.get("location", ""), path.parent.resolve()
    try:
        file = (folder / location).resolve()  # follows links
    except RuntimeError as error:  # a link to itself, before Python 3.13
        raise ModelError(
            f"{path}: its weights {location} are a link that leads nowhere: copy the file itself"
        ) from error
    if not location or Path(location).is_absolute() or folder not in file.parents:
        raise ModelError(
            f"{path}: its weights {tensor.name!r} are said to lie in {location!r}, outside the model's folder: "
            "refused. Save the model with its weights beside it, or in one file"
        )
    if not file.is_file():
        raise ModelError(
            f"{path}: its weights {location} are missing: copy that file beside it, under the same name "
            "(torch.onnx.export and others write two files for one model)"
        )
    try:
        offset, size = int(told.get("offset", "0")), file.stat().st_size
        length = int(told.get("length", "0")) or size - offset
    except ValueError as error:
        raise ModelError(f"{path}: where {tensor.name!r} lies in {location} is no number; export it again") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelError(
            f"{path}: {location} is too short for {tensor.name!r}, another model's or cut off: copy it again"
        )
    needed = _bytes_needed(tensor)
    if length > needed:
        raise ModelError(
            f"{path}: {location} tells of {length} bytes for {tensor.name!r}, needing {needed}: save it again"
        )
    return length


def _bytes_needed(tensor: onnx.TensorProto) -> int:
    """At most: types of less than a byte count as one."""
    size = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    return int(math.prod(tensor.dims) * size)


def _external(model: onnx.ModelProto) -> List[onnx.TensorProto]:
    nodes = [node for function in model.functions for node in function.node]
    return [tensor for tensor in (*_tensors(model.graph), *_of_nodes(nodes)) if uses_external_data(tensor)]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All tensors that are stored, in bodies of If and Loop and in constants too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(graph)
