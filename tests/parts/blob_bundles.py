"""Bundles of the tiny detector, and of a classifier for crops of what it finds: float, without a conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converter.model.finish import FinishedModel, finish
from converter.model.graph import load_onnx
from sightd.bundle import write_bundle
from sightd.manifest import EngineRecord, Manifest, ModelRecord, OutputSpec, Profile
from tests.parts.blobs import LABELS, blob_detector

__all__ = ["COLOURS", "colour_classifier", "write_blob_bundle", "write_colour_bundle"]

#: What :func:`colour_classifier` calls white and green squares.
COLOURS = ["pale", "grassy"]
_SIZE = 32


def write_blob_bundle(folder: Path, labels: Sequence[str] = LABELS) -> Path:
    """A bundle of :func:`tests.parts.blobs.blob_detector` at *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder, finish(load_onnx(blob_detector(folder / "blobs.onnx")), labels=labels))


def write_colour_bundle(folder: Path, *, wrong: bool = False) -> Path:
    """A bundle of :func:`colour_classifier` at *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_onnx(colour_classifier(folder / "colours.onnx", wrong=wrong))
    spec = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return _write(folder, finish(model, labels=COLOURS, spec_overrides=spec))


def colour_classifier(path: Path, *, wrong: bool = False) -> Path:
    """Logits [1, 2] of RGB pictures 0..1, [1, 3, 32, 32]: white against green; a *wrong* one mixes them up."""
    weights = np.array([[20, 0, 20], [-20, 20, 0]], np.float32)
    blur = np.eye(3, dtype=np.float32)[:, :, None, None] * np.full((3, 3), 1 / 9, np.float32)
    constants = {"weights": weights[::-1] if wrong else weights, "bias": np.zeros(2, np.float32), "blur": blur}
    nodes = [
        helper.make_node("Conv", ["image", "blur"], ["c1"], "conv1", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "blur"], ["c2"], "conv2", kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["c2"], ["mean"], "pool"),
        helper.make_node("Flatten", ["mean"], ["colour"], "flatten"),
        helper.make_node("Gemm", ["colour", "weights", "bias"], ["logits"], "predict", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, _SIZE, _SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _write(folder: Path, finished: FinishedModel) -> Path:
    engine = folder / "finished.onnx"
    onnx.save(finished.model, str(engine))
    manifest = Manifest(
        engine=EngineRecord("onnxruntime", "fp32"),
        model=ModelRecord(f"{folder.name}.onnx", "", 13),
        head=finished.head.family,
        input=finished.spec,
        labels=finished.labels,
        output=OutputSpec(candidates=finished.candidates),
        profile=Profile(max=finished.max_batch),
    )
    write_bundle(folder, engine, manifest, {})
    return folder
