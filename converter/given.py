"""The user's model as it is given: an unfinished graph, exported first where it is PyTorch's, and one file of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence, Tuple

import onnx

from sightd.bundle import sha256_of
from sightd.manifest import ModelRecord

from .model.export import export
from .model.external_data import has_external_data
from .model.float32 import as_float32
from .model.graph import load_onnx, opset_of
from .model.model_files import ModelFormat, format_of
from .request import Request

__all__ = ["Given", "read_given"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """Where everything begins."""

    #: In float32, whatever the file is in.
    model: onnx.ModelProto
    record: ModelRecord
    #: All of it in one ONNX file, the one that the record's hash is of: the bundle keeps it.
    file: Path
    #: What people must know: how it was exported, what was converted. A sentence each, logged as warnings.
    notes: Tuple[str, ...] = ()


def read_given(request: Request, folder: Path) -> Given:
    """Read, or export, the model of *request*; *folder* is for files that have to be written.

    :raises ModelError: it can't be read or exported.
    """
    if request.rebuilt is not None:
        return _in_float32(load_onnx(request.model), request.rebuilt.manifest.model, request.model)
    found = format_of(request.model)
    if request.factory or found not in (ModelFormat.ONNX, ModelFormat.UNKNOWN):
        return _exported(request, folder / "given.onnx")
    model = load_onnx(request.model)
    file = request.model
    if has_external_data(onnx.load(str(file), load_external_data=False)):
        file = folder / "given.onnx"
        file.write_bytes(model.SerializeToString())
    return _in_float32(model, ModelRecord(request.model.name, sha256_of(file), opset_of(model)), file)


def _exported(request: Request, file: Path) -> Given:
    made = export(
        request.model,
        request.factory,
        size=request.size,
        opset=request.opset,
        exporter=request.exporter,
        script=request.script,
        out=file,
    )
    record = ModelRecord(request.model.name, sha256_of(made.onnx), made.opset, made.weights_sha256, made.exporter)
    return _in_float32(load_onnx(made.onnx), record, made.onnx, made.notes)


def _in_float32(model: onnx.ModelProto, record: ModelRecord, file: Path, notes: Sequence[str] = ()) -> Given:
    converted, told = as_float32(model)
    for note in told:
        _log.warning("%s", note)
    return Given(converted, record, file, (*notes, *told))
