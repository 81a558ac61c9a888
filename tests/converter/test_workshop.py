"""The workshop on a tiny real detector: what its recipes keep float, and what it leaves for the bundle."""

from __future__ import annotations

from typing import Set

import onnx
import pytest

from converter.agreement.gate import Gate
from converter.agreement.reference import Reference
from converter.calibration.frames import read_frames
from converter.int8.ranges_file import load_ranges, ranges_key
from converter.model.finish import finish
from converter.progress import Silent
from converter.search import Recipe
from converter.workshop import Workshop
from sightd.bundle import OutputSpec
from tests.parts.blobs import LABELS, blob_detector, write_blob_pictures

PREDICTIONS = {"predict_heat", "predict_sides"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    model = onnx.load(str(blob_detector(folder / "blobs.onnx")))
    finished = finish(model, labels=LABELS)
    frames = read_frames(write_blob_pictures(folder / "pictures", 100), count=32, holdout=50, seed=0)
    reference = Reference(model, finished.spec, finished.head)
    gate = Gate.open(reference, frames, finished.spec, OutputSpec(), batches=[1], progress=Silent())
    made = Workshop(finished, frames, gate, folder, Silent())
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


def test_the_head_is_int8_where_the_recipe_says_so(workshop: Workshop) -> None:
    assert in_int8(workshop, Recipe("mse", "conv", 1, "int8")) >= PREDICTIONS


def test_the_ranges_are_kept_for_the_bundle(workshop: Workshop) -> None:
    file = workshop.extras["ranges.npz"]
    ranges = load_ranges(file, ranges_key(workshop.model, workshop._frames.sha256, workshop._spec))
    assert ranges.frames == len(workshop._frames.calibration)
    assert ranges.maxima.shape == (ranges.frames, len(ranges.histograms))
