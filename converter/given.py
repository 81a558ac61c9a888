"""The user's model as it is given: an unfinished graph, exported first where it is weights, and one file of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from sightd.bundle import ModelRecord, sha256_of
from sightd.errors import ModelError

from .model.export import export
from .model.graph import load_onnx, opset_of
from .request import Request

__all__ = ["Given", "read_given"]


@dataclass(frozen=True)
class Given:
    """Where everything begins."""

    model: onnx.ModelProto
    record: ModelRecord
    #: All of it in one ONNX file, the one that the record's hash is of: the bundle keeps it.
    file: Path


def read_given(request: Request, folder: Path) -> Given:
    """Read, or export, the model of *request*; *folder* is for files that have to be written.

    :raises ModelError: it can't be read or exported.
    """
    if request.rebuilt is not None:
        return Given(load_onnx(request.model), request.rebuilt.manifest.model, request.model)
    if request.factory:
        return _exported(request, folder / "given.onnx")
    model = load_onnx(request.model)
    file = request.model
    if _has_weights_elsewhere(file):
        file = folder / "given.onnx"
        file.write_bytes(model.SerializeToString())
    return Given(model, ModelRecord(request.model.name, sha256_of(file), opset_of(model)), file)


def _exported(request: Request, file: Path) -> Given:
    if request.size is None:
        raise ModelError("PyTorch weights don't say the size of their input: give it with --size")
    made = export(request.model, request.factory, size=request.size, opset=request.opset, out=file)
    record = ModelRecord(request.model.name, sha256_of(made.onnx), made.opset, made.weights_sha256, made.exporter)
    return Given(load_onnx(made.onnx), record, made.onnx)


def _has_weights_elsewhere(file: Path) -> bool:
    """Whether weights lie in files beside it; :func:`load_onnx` has read them in."""
    graph = onnx.load(str(file), load_external_data=False).graph
    return any(uses_external_data(weights) for weights in graph.initializer)
