"""The engines without INT8: which of them INT8 is measured against, and what is said of those that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converter.agreement.gate import Gate, Latencies
from converter.agreement.reference import Reference
from converter.builders.base import Built
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.calibration.frames import read_frames
from converter.floats import Floats, build_floats
from converter.model.finish import FinishedModel, finish
from converter.progress import Silent
from sightd.errors import BuildError
from sightd.manifest import OutputSpec
from tests.parts.blobs import LABELS, blob_detector, write_blob_pictures


class TwoPrecisions(OnnxRuntimeBuilder):
    """Its fp16 engine is the float one again, or what a test makes of it."""

    floats: Tuple[str, ...] = ("fp32", "fp16")

    def __init__(self, *failing: str, spoil: bool = False, junk: bool = False) -> None:
        self._failing, self._spoil, self._junk = failing, spoil, junk

    def build_float(self, finished: onnx.ModelProto, precision: str, file: Path) -> Built:
        if precision in self._failing:
            raise BuildError(f"no kernel in {precision}\nwhat to do: nothing")
        if precision == "fp16" and self._junk:
            file.write_bytes(b"junk")
            return Built(file, precision)
        return super().build_float(dead(finished) if self._spoil and precision == "fp16" else finished, precision, file)


def dead(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    heat = next(weights for weights in changed.graph.initializer if weights.name == "heat")
    heat.CopyFrom(numpy_helper.from_array(np.zeros((2, 3, 1, 1), np.float32), "heat"))
    return changed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return onnx.load(str(blob_detector(tmp_path_factory.mktemp("model") / "blobs.onnx")))


@pytest.fixture(scope="module")
def finished(model: onnx.ModelProto) -> FinishedModel:
    return finish(model, labels=LABELS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "blobs", 100)


@pytest.fixture
def gate(model: onnx.ModelProto, finished: FinishedModel, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Takes fp16 for twice as fast."""

    def race(self: Gate, kind: str, files: Dict[str, Path]) -> Dict[str, Latencies]:
        return {name: {"1": {"p50_ms": 1.0 if name == "fp16" else 2.0, "p95_ms": 3.0}} for name in files}

    monkeypatch.setattr(Gate, "race", race)
    frames = read_frames(pictures, count=8, holdout=50, seed=0)
    reference = Reference(model, finished.spec, finished.head)
    return Gate.open(reference, frames, finished.spec, OutputSpec(), batches=[1], progress=Silent(), labels=LABELS)


def built(builder: OnnxRuntimeBuilder, finished: FinishedModel, gate: Gate, folder: Path) -> Floats:
    return build_floats(builder, finished.model, gate, folder, Silent())


def test_the_fastest_that_agrees_is_the_yardstick_and_the_most_exact_sets_the_floor(
    finished: FinishedModel, gate: Gate, tmp_path: Path
) -> None:
    floats = built(TwoPrecisions(), finished, gate, tmp_path)
    assert [engine.built.precision for engine in floats.engines] == ["fp32", "fp16"]
    assert floats.yardstick.built.precision == "fp16"
    assert gate.floor is floats.exact.agreement
    assert set(floats.latency) == {"fp32", "fp16"}
    assert [floats.title(engine) for engine in floats.engines] == ["finished float model", "fp16 engine"]
    assert not floats.notes


def test_one_precision_is_not_raced(finished: FinishedModel, gate: Gate, tmp_path: Path) -> None:
    floats = built(OnnxRuntimeBuilder(), finished, gate, tmp_path)
    assert floats.yardstick is floats.exact
    assert floats.latency == {}


def test_one_that_disagrees_is_not_the_yardstick_however_fast_and_it_is_said(
    finished: FinishedModel, gate: Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    floats = built(TwoPrecisions(spoil=True), finished, gate, tmp_path)
    assert floats.yardstick.built.precision == "fp32"
    assert "the float engine in fp16 does not agree and is not used" in floats.notes[0]
    assert floats.notes[0] in caplog.text


@pytest.mark.parametrize(("failing", "left"), [("fp16", "fp32"), ("fp32", "fp16")])
def test_one_that_can_not_be_built_leaves_the_other(
    finished: FinishedModel, gate: Gate, tmp_path: Path, failing: str, left: str
) -> None:
    floats = built(TwoPrecisions(failing), finished, gate, tmp_path)
    assert floats.yardstick.built.precision == left
    assert gate.floor is floats.exact.agreement
    assert floats.notes == [f"{failing} could not be built: no kernel in {failing}"]


def test_one_that_does_not_load_leaves_the_other(finished: FinishedModel, gate: Gate, tmp_path: Path) -> None:
    floats = built(TwoPrecisions(junk=True), finished, gate, tmp_path)
    assert floats.yardstick.built.precision == "fp32"
    assert "fp16 could not be built" in floats.notes[0]


def test_nothing_can_be_built_is_an_error_with_every_reason(
    finished: FinishedModel, gate: Gate, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=r"(?s)no kernel in fp32.*no kernel in fp16"):
        built(TwoPrecisions("fp32", "fp16"), finished, gate, tmp_path)


def test_where_the_most_exact_does_not_agree_nothing_else_is_built(
    model: onnx.ModelProto, finished: FinishedModel, pictures: Path, tmp_path: Path
) -> None:
    frames = read_frames(pictures, count=8, holdout=2, seed=0)  # too few to prove anything
    reference = Reference(model, finished.spec, finished.head)
    gate = Gate.open(reference, frames, finished.spec, OutputSpec(), batches=[1], progress=Silent())
    floats = built(TwoPrecisions(), finished, gate, tmp_path)
    assert floats.exact.agreement.verdict == "insufficient-evidence"
    assert [engine.built.precision for engine in floats.engines] == ["fp32"]
