"""The workshop on a tiny real detector: what its recipes keep float, and what it leaves for the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional, Set

import onnx
import pytest

from converter.agreement.gate import Gate
from converter.agreement.reference import Reference
from converter.builders.base import Built
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.calibration.frames import read_frames
from converter.floats import build_floats
from converter.int8.ranges_file import load_ranges, ranges_key
from converter.model.finish import finish
from converter.model.graph import load_onnx
from converter.progress import Silent
from converter.search import Recipe
from converter.workshop import Workshop
from sightd.errors import BuildError, EngineError
from sightd.manifest import OutputSpec
from tests.parts.blobs import LABELS, blob_detector, write_blob_pictures
from tests.shapes.detector import MODEL

PREDICTIONS = {"predict_heat", "predict_sides"}


Make = Callable[..., Workshop]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes workshops for one model and its frames."""
    folder = tmp_path_factory.mktemp("workshop")
    model = onnx.load(str(blob_detector(folder / "blobs.onnx")))
    finished = finish(model, labels=LABELS)
    frames = read_frames(write_blob_pictures(folder / "pictures", 100), count=32, holdout=50, seed=0)
    reference = Reference(model, finished.spec, finished.head)
    gate = Gate.open(reference, frames, finished.spec, OutputSpec(), batches=[1], progress=Silent())
    builder = OnnxRuntimeBuilder()
    float_file = build_floats(builder, finished.model, gate, folder, Silent()).yardstick.built.file

    def made(folder: Path, ranges: Optional[Path] = None) -> Workshop:
        return Workshop(finished, frames, gate, builder, float_file, folder, Silent(), ranges)

    return made


@pytest.fixture(scope="module")
def workshop(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = make(tmp_path_factory.mktemp("prepared"))
    made.prepare()
    return made


def in_int8(workshop: Workshop, recipe: Recipe) -> Set[str]:
    """The layers with INT8 weights in the engine of *recipe*, which must agree."""
    assert workshop.attempt(recipe).agreement.recall > 0.95
    graph = onnx.load(str(workshop.file_of(recipe))).graph
    quantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {node.name for node in graph.node if node.op_type == "Conv" and node.input[1] in quantised}


def test_every_layer_is_ranked_prediction_layers_too(workshop: Workshop) -> None:
    ranked = [one.layer for one in workshop.ranking]
    assert len(set(ranked)) == len(ranked)
    assert set(ranked) >= PREDICTIONS
    assert workshop.head == PREDICTIONS


def test_the_most_damaging_layers_stay_float_besides_the_head(workshop: Workshop) -> None:
    body = [one.layer for one in workshop.ranking if one.layer not in PREDICTIONS]
    recipe = Recipe("mse", "conv", 2)
    assert workshop.float_layers(recipe) == body[:2]
    assert in_int8(workshop, recipe) == set(body[2:])


def test_prediction_layers_behind_a_distribution_are_never_int8(tmp_path: Path, workshop: Workshop) -> None:
    nothing: Any = None  # of what only prepare() and attempt() use
    finished = finish(load_onnx(MODEL))
    assert not Workshop(finished, nothing, nothing, nothing, nothing, tmp_path, Silent()).int8_head
    assert workshop.int8_head


def test_the_head_is_int8_where_the_recipe_says_so(workshop: Workshop) -> None:
    assert in_int8(workshop, Recipe("mse", "conv", 1, "int8")) >= PREDICTIONS


def test_the_precisions_told_are_those_of_the_engine(workshop: Workshop) -> None:
    recipe = Recipe("mse", "conv", 2)
    convolutions = {node.name for node in workshop.model.graph.node if node.op_type == "Conv"}
    told = workshop.precisions("int8", recipe)
    assert {name for name in convolutions if told[name] == "int8"} == in_int8(workshop, recipe)
    assert {told[name] for name in PREDICTIONS} == {"fp32"}
    assert set(workshop.precisions("fp32", None).values()) == {"fp32"}


@pytest.mark.parametrize("error", [BuildError("out of memory"), EngineError("it does not load")])
def test_an_engine_that_can_not_be_built_or_does_not_run_does_not_agree(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr(OnnxRuntimeBuilder, "build_int8", fail)
    recipe = Recipe("mse", "conv", 3)
    trial = workshop.attempt(recipe)
    assert not trial.was_built
    assert not trial.agreement.agrees
    assert trial.agreement.reason == str(error)
    assert recipe not in workshop.built


def test_an_engine_without_int8_in_it_is_none(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(self: OnnxRuntimeBuilder, *given: Any) -> Built:
        return Built(given[-1], "fp16", notes=("all layers are faster in float",))

    monkeypatch.setattr(OnnxRuntimeBuilder, "build_int8", build)
    assert workshop.attempt(Recipe("mse", "conv", 4)).agreement.reason == "all layers are faster in float"


def test_ranges_of_the_same_model_and_frames_are_not_measured_again(
    make: Make, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = make(tmp_path, workshop.extras["ranges.npz"])
    monkeypatch.setattr(Workshop, "collect_ranges", None)
    again.prepare()
    assert again.maxima().tolist() == workshop.maxima().tolist()


@pytest.mark.parametrize("content", [b"", b"of something else"])
def test_ranges_that_do_not_fit_are_measured(make: Make, workshop: Workshop, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    again = make(tmp_path, tmp_path / "other.npz")
    again.prepare()
    assert again.maxima().tolist() == workshop.maxima().tolist()


def test_the_ranges_are_kept_for_the_bundle(workshop: Workshop) -> None:
    file = workshop.extras["ranges.npz"]
    ranges = load_ranges(file, ranges_key(workshop.model, workshop._frames.sha256, workshop._spec))
    assert ranges.frames == len(workshop._frames.calibration)
    assert ranges.maxima.shape == (ranges.frames, len(ranges.histograms))
