"""The gate on a tiny real detector: planted faults are caught, the model itself passes, evidence sets the frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converter.agreement.agree import Agreement, agreement, levels
from converter.agreement.gate import Gate
from converter.agreement.half_weights import with_half_weights
from converter.agreement.measure import detect
from converter.agreement.reference import Reference
from converter.agreement.thresholds import Thresholds
from converter.builders.onnxruntime import KIND
from converter.calibration.frames import Frames, read_frames
from converter.int8.plan import watched_tensors
from converter.int8.ranges import Ranges, collect_ranges
from converter.model.finish import FinishedModel, finish
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from converter.progress import Silent
from converter.search import Recipe
from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.resize import resize_into
from sightd.types import Detections, Image
from tests.parts.blobs import LABELS, SIZE, blob_detector, blob_picture, write_blob_pictures
from tests.parts.int8 import write_float, write_int8

RECIPE = Recipe("percentile-99.999", "all", 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return onnx.load(str(blob_detector(tmp_path_factory.mktemp("model") / "blobs.onnx")))


@pytest.fixture(scope="module")
def finished(model: onnx.ModelProto) -> FinishedModel:
    return finish(model, labels=LABELS)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    return read_frames(write_blob_pictures(tmp_path_factory.mktemp("set") / "blobs", 120), count=60, holdout=60, seed=0)


@pytest.fixture(scope="module")
def gate(model: onnx.ModelProto, finished: FinishedModel, frames: Frames) -> Gate:
    return opened(model, finished, frames, Thresholds())


def opened(model: onnx.ModelProto, finished: FinishedModel, frames: Frames, thresholds: Thresholds) -> Gate:
    reference = Reference(model, finished.spec, finished.head)
    options: Dict[str, Any] = {"thresholds": thresholds, "batches": [1], "progress": Silent(), "labels": LABELS}
    return Gate.open(reference, frames, finished.spec, OutputSpec(), **options)


def judged(gate: Gate, graph: onnx.ModelProto, folder: Path) -> Agreement:
    write_float(graph, folder / "engine.onnx")
    return gate.judge(KIND, folder / "engine.onnx", "")


def int8(gate: Gate, finished: FinishedModel, ranges: Ranges, folder: Path) -> Agreement:
    graph = simplify(finished.model)
    write_int8(graph, ranges, RECIPE, head_nodes(graph), folder / "engine.onnx")
    return gate.judge(KIND, folder / "engine.onnx", "")


def ranges_of(finished: FinishedModel, pictures: Any) -> Ranges:
    graph = simplify(finished.model)
    return collect_ranges(graph, watched_tensors(graph, head_nodes(graph)), (pixels(finished, one) for one in pictures))


def pixels(finished: FinishedModel, image: Image) -> np.ndarray:
    made = np.empty((1, SIZE, SIZE, 3), np.uint8)
    resize_into(made[0], image, finished.spec)
    return made


def yellow_detector(model: onnx.ModelProto) -> onnx.ModelProto:
    """*model* with yellow for class 0, so that the order of channels matters."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    heat = next(weights for weights in changed.graph.initializer if weights.name == "heat")
    heat.CopyFrom(numpy_helper.from_array(np.float32([[4.5, 4.5, 0], [-9, 9, 0]]).reshape(2, 3, 1, 1), "heat"))
    return changed


def test_the_finished_model_passes_and_so_does_half_precision(
    gate: Gate, finished: FinishedModel, tmp_path: Path
) -> None:
    for graph in (finished.model, with_half_weights(finished.model)):
        result = judged(gate, graph, tmp_path)
        assert result.agrees
        assert result.recall == 1.0
    assert [row.name for row in result.cameras] == ["images"]
    assert {row.name for row in result.classes} == set(LABELS)


def test_honest_int8_passes(gate: Gate, finished: FinishedModel, frames: Frames, tmp_path: Path) -> None:
    result = int8(gate, finished, ranges_of(finished, frames.images(frames.calibration)), tmp_path)
    assert result.agrees, result.reason


def test_a_scale_applied_twice_is_caught(gate: Gate, model: onnx.ModelProto, tmp_path: Path) -> None:
    wrong = finish(model, labels=LABELS, spec_overrides={"scale": 1 / 255})
    assert judged(gate, wrong.model, tmp_path).verdict == "disagrees"


def test_swapped_channels_are_caught(model: onnx.ModelProto, tmp_path: Path) -> None:
    yellow, pictures = yellow_detector(model), tmp_path / "yellow"
    pictures.mkdir()
    for seed in range(120):
        cv2.imwrite(str(pictures / f"{seed:03}.png"), blob_picture(seed) * np.array([0, 1, 1], np.uint8))
    right = finish(yellow, labels=LABELS)
    gate = opened(yellow, right, read_frames(pictures, count=60, holdout=60, seed=0), Thresholds())
    assert judged(gate, right.model, tmp_path).agrees
    wrong = finish(yellow, labels=LABELS, spec_overrides={"channel_order": "bgr"})
    assert judged(gate, wrong.model, tmp_path).verdict == "disagrees"


def test_a_centre_crop_is_caught(gate: Gate, finished: FinishedModel, tmp_path: Path) -> None:
    write_float(finished.model, tmp_path / "engine.onnx")
    margin = SIZE // 8
    with load_engine(KIND, tmp_path / "engine.onnx", finished.spec, 1, EngineOptions()) as engine:
        crops = [np.ascontiguousarray(image[:, margin:-margin]) for image in gate.images()]
        found = detect(engine, crops, gate.output, levels(gate.thresholds).floor)
    shift = np.array([margin, 0, margin, 0], np.float32)
    result = agreement(gate.truth, [replace(one, boxes=one.boxes + shift) for one in found], gate.thresholds)
    assert result.verdict == "disagrees"


def test_a_class_that_the_candidate_lost_is_caught_and_named(
    gate: Gate, finished: FinishedModel, tmp_path: Path
) -> None:
    write_float(finished.model, tmp_path / "engine.onnx")
    found = gate.detections(KIND, tmp_path / "engine.onnx", "")
    kept = [
        Detections(one.boxes[one.classes == 0], one.scores[one.classes == 0], one.classes[one.classes == 0])
        for one in found
    ]
    result = agreement(gate.truth, kept, gate.thresholds, labels=LABELS)
    assert result.verdict == "disagrees"
    assert "class green: recall 0.000" in result.reason


def test_ranges_of_something_else_are_caught(gate: Gate, finished: FinishedModel, tmp_path: Path) -> None:
    black = np.full((SIZE, SIZE, 3), 8, np.uint8)
    assert int8(gate, finished, ranges_of(finished, [black]), tmp_path).verdict == "disagrees"


def test_the_hold_out_is_judged_until_there_is_evidence_enough(
    model: onnx.ModelProto, finished: FinishedModel, frames: Frames
) -> None:
    boxes = opened(model, finished, frames, Thresholds(min_evidence=110))
    assert sum(int((truth.scores >= 0.4).sum()) for truth in boxes.truth) >= 220
    assert len(boxes.truth) < len(frames.holdout)
    assert [entry.file for entry in boxes.entries] == [entry.file for entry in frames.holdout[: len(boxes.truth)]]
    assert len(list(boxes.images())) == len(boxes.truth)


@pytest.mark.parametrize(("min_evidence", "judged_frames"), [(1, 40), (10_000, 60)])
def test_it_takes_forty_frames_at_least_and_all_at_most(
    model: onnx.ModelProto, finished: FinishedModel, frames: Frames, min_evidence: int, judged_frames: int
) -> None:
    gate = opened(model, finished, frames, Thresholds(min_evidence=min_evidence))
    assert len(gate.truth) == min(judged_frames, len(frames.holdout))


def test_once_the_float_build_is_judged_candidates_are_measured_against_what_it_reaches(
    model: onnx.ModelProto, finished: FinishedModel, frames: Frames, tmp_path: Path
) -> None:
    gate = opened(model, finished, frames, Thresholds())
    assert gate.needed() == gate.thresholds
    write_float(finished.model, tmp_path / "engine.onnx")
    floor = gate.judge_floor(KIND, tmp_path / "engine.onnx", "")
    assert floor.agrees
    assert gate.needed().min_ap == pytest.approx(gate.thresholds.min_ap - (1 - floor.ap))


def test_what_the_reference_reports_and_what_an_engine_sees_can_be_drawn(
    gate: Gate, finished: FinishedModel, tmp_path: Path
) -> None:
    write_float(finished.model, tmp_path / "engine.onnx")
    first = next(iter(gate.images()))
    seen = gate.look(KIND, tmp_path / "engine.onnx", [first])
    assert len(seen[0]) == len(gate.reported(0)) == 5
