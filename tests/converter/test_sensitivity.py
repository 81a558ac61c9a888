"""Layers ranked by the damage that INT8 does in them: a planted one is found, and damage is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import collect_ranges
from converter.int8.sensitivity import Damage, damage, rank_layers, sqnr_db
from converter.int8.targets import this_machine
from converter.model.finish import finish
from converter.model.tail import head_nodes
from sightd.types import Detections
from tests.parts.blobs import LABELS, blob_detector, blob_picture


def detections(*boxes: List[float], scores: List[float], classes: List[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int32)
    )


def unbalance(model: onnx.ModelProto, first: str, second: str) -> None:
    """Scale one channel up and, a layer later, down again: float does not notice, one scale for all channels does."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    for name, scales in ((first, (5000.0, 1, 1)), (second, (1 / 5000.0, 1, 1))):
        values = numpy_helper.to_array(weights[name]).copy()
        shape = (-1, 1, 1, 1) if name == first else (1, -1, 1, 1)
        values *= np.float32(scales).reshape(shape)
        weights[name].CopyFrom(numpy_helper.from_array(values, name))


def ranked(model: onnx.ModelProto) -> List[Damage]:
    finished = finish(model, labels=LABELS).model
    head = head_nodes(finished)
    inputs: List[NDArray[np.uint8]] = [blob_picture(seed)[None] for seed in range(4)]
    ranges = collect_ranges(finished, watched_tensors(finished, head), inputs)
    candidates = layers(finished, head)
    done: List[None] = []
    found = rank_layers(
        finished,
        ranges,
        candidates,
        head,
        inputs,
        algorithm="minmax",
        target=this_machine(),
        on_layer=lambda: done.append(None),
    )
    assert len(done) == len(candidates)
    assert sorted(one.layer for one in found) == sorted(candidates)
    return found


def test_the_two_layers_around_an_unbalanced_tensor_come_first(tmp_path: Path) -> None:
    model = onnx.load(str(blob_detector(tmp_path / "blobs.onnx")))
    assert max(one.damage for one in ranked(model)) < 0.2
    unbalance(model, "blur3", "blur4")
    found = ranked(model)
    assert {one.layer for one in found[:2]} == {"conv3", "conv4"}
    assert found[1].damage > 0.5
    assert found[2].damage < 0.2
    assert [one.damage for one in found] == sorted((one.damage for one in found), reverse=True)
    assert max(one.sqnr_db for one in found[:2]) < min(one.sqnr_db for one in found[2:])


def test_a_layer_is_described_by_its_operator_and_by_the_noise_in_each_of_the_models_outputs(tmp_path: Path) -> None:
    found = ranked(onnx.load(str(blob_detector(tmp_path / "blobs.onnx"))))
    assert {one.operator for one in found} == {"Conv"}
    assert {len(one.output_sqnr_db) for one in found} == {2}  # the heatmap and the distances
    assert all(one.sqnr_db == min(one.output_sqnr_db.values()) for one in found)
    assert all(20 < one.sqnr_db <= 120 for one in found)


@pytest.mark.parametrize(
    ("signal", "found", "expected"),
    [
        ([10.0, 0.0], [10.0, 1.0], 20.0),
        ([1.0, 1.0], [1.0, 1.0], 120.0),
        ([1.0, 1.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 120.0),
    ],
)
def test_sqnr_is_the_power_of_the_signal_over_that_of_the_noise(
    signal: List[float], found: List[float], expected: float
) -> None:
    halves = [[np.array([value], np.float32) for value in values] for values in (signal, found)]
    assert sqnr_db(*halves) == pytest.approx(expected)


BOX, FAR = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
TRUTH = detections(BOX, FAR, scores=[0.8, 0.4], classes=[0, 1])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (TRUTH, 0.0),
        (detections(scores=[], classes=[]), 1.0),
        (detections(BOX, FAR, scores=[0.8, 0.4], classes=[1, 0]), 1.0),
        (detections(BOX, scores=[0.8], classes=[0]), 0.4 / 2.0),
        (detections(BOX, FAR, scores=[0.4, 0.4], classes=[0, 1]), (0.8 + 0.4) / 2 / 2.0),
        (detections([0.0, 0.0, 10.0, 5.0], FAR, scores=[0.8, 0.4], classes=[0, 1]), 0.8 / 2.4),
    ],
    ids=["same", "nothing left", "classes swapped", "one lost", "score halved", "box halved"],
)
def test_damage_is_the_share_of_the_scores_that_the_other_lacks(found: Detections, expected: float) -> None:
    assert damage([TRUTH], [found]) == pytest.approx(expected, abs=1e-6)
    assert damage([found], [TRUTH]) == pytest.approx(expected, abs=1e-6)


def test_pictures_without_a_detection_say_nothing() -> None:
    empty = detections(scores=[], classes=[])
    assert damage([empty, TRUTH], [empty, TRUTH]) == 0
    assert damage([empty], [empty]) == 0
