"""A bundle of the detector of coloured shapes, for daemons."""

from __future__ import annotations

from pathlib import Path

from converter.model.finish import finish
from converter.model.graph import load_onnx
from sightd.bundle import write_bundle
from sightd.manifest import EngineRecord, Manifest, ModelRecord, OutputSpec
from tests.parts.int8 import write_float

from .detector import MODEL

__all__ = ["write_shapes_bundle"]


def write_shapes_bundle(folder: Path) -> Path:
    """``folder/bundle``, of the float detector."""
    finished = finish(load_onnx(MODEL))
    manifest = Manifest(
        engine=EngineRecord("onnxruntime", "fp32"),
        model=ModelRecord(MODEL.name, "", 13),
        head=finished.head.family,
        input=finished.spec,
        labels=finished.labels,
        output=OutputSpec(candidates=finished.candidates),
    )
    write_float(finished.model, folder / "float.onnx")
    write_bundle(folder / "bundle", folder / "float.onnx", manifest, {})
    return folder / "bundle"
