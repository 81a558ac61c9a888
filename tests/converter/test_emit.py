"""One set of ranges, every target: each detects as the float model does, and TensorRT computes its own in INT8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Set

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from converter.int8.emit import emit
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import Ranges, collect_ranges
from converter.int8.sensitivity import damage, rank_layers
from converter.int8.targets import AARCH64, TENSORRT, X86, X86_VNNI, Target
from converter.model.finish import finish
from converter.model.labels import read_labels
from converter.model.session import Session
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from converter.search import Recipe
from sightd import nms
from sightd.types import Candidates, Detections, Placement
from tests.parts.blobs import LABELS, blob_detector, blob_picture
from tests.parts.tensorrt_rtx import convolution_inputs

TARGETS = {"x86": X86, "x86 with VNNI": X86_VNNI, "arm64": AARCH64, "TensorRT": TENSORRT}
RECIPE = Recipe("mse", "conv", 0)


@dataclass(frozen=True)
class Case:
    """A finished detector and what its calibration saw."""

    model: onnx.ModelProto
    ranges: Ranges
    head: Set[str]
    pictures: List[NDArray[np.uint8]]

    def emitted(self, target: Target, recipe: Recipe = RECIPE) -> onnx.ModelProto:
        return emit(self.model, self.ranges, recipe, target, self.head)

    def lost(self, int8: onnx.ModelProto, least_score: float) -> float:
        """The share of the scores of either's detections that the other lacks."""
        return damage(*(detections(one, self.pictures, least_score) for one in (self.model, int8)))


def detections(model: onnx.ModelProto, pictures: List[NDArray[np.uint8]], least_score: float) -> List[Detections]:
    session = Session(model)
    found: List[Detections] = []
    for picture in pictures:
        height, width = picture.shape[1:3]
        places = [Placement(1.0, 1.0, 0.0, 0.0, width, height)]
        found += nms.detections(Candidates(*session.run(picture)), places, min_score=least_score, iou=0.45)
    return found


def case_of(model: onnx.ModelProto, labels: List[str], pictures: List[NDArray[np.uint8]], calibration: int) -> Case:
    simplified = simplify(finish(model, labels=labels).model)
    head = head_nodes(simplified)
    ranges = collect_ranges(simplified, watched_tensors(simplified, head), pictures[:calibration])
    return Case(simplified, ranges, head, pictures[calibration:])


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Case:
    model = onnx.load(str(blob_detector(tmp_path_factory.mktemp("blobs") / "blobs.onnx")))
    return case_of(model, LABELS, [blob_picture(seed)[None] for seed in range(12)], 8)


def real_case(assets: Path, model: str, size: int) -> Case:
    files = sorted((assets / "images" / "calib_coco_train80").glob("*.jpg"))[:20]
    pictures = [np.asarray(cv2.resize(cv2.imread(str(file)), (size, size)), np.uint8)[None] for file in files]
    return case_of(onnx.load(str(assets / "models" / model)), read_labels("coco80"), pictures, 16)


REAL = {"yolox_nano": ("yolox_nano/yolox_nano.onnx", 416), "centernet": ("centernet_mbv3/centernet_mbv3_512.onnx", 512)}


@pytest.mark.parametrize("scope", ["all", "conv"])
@pytest.mark.parametrize("target", TARGETS)
def test_each_target_detects_what_float_does(blobs: Case, target: str, scope: str) -> None:
    int8 = blobs.emitted(TARGETS[target], Recipe("mse", scope, 0))
    assert blobs.lost(int8, 0.3) < 0.1
    assert [len(found) for found in detections(int8, blobs.pictures, 0.3)] == [5] * 4


def test_tensorrt_gets_symmetric_int8_and_float_biases(blobs: Case) -> None:
    int8 = blobs.emitted(TENSORRT)
    values = {weight.name: onnx.numpy_helper.to_array(weight) for weight in int8.graph.initializer}
    pairs = [node for node in int8.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [values[node.input[2]] for node in pairs]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert not any(value.dtype == np.int32 for value in values.values())
    assert {node.domain for node in int8.graph.node} <= {"", "ai.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_detectors_survive_tensorrts_int8(assets: Path, name: str) -> None:
    case = real_case(assets, *REAL[name])
    ranked = rank_layers(
        case.model,
        case.ranges,
        layers(case.model, case.head),
        case.head,
        case.pictures[:2],
        algorithm=RECIPE.algorithm,
        target=TENSORRT,
        on_layer=lambda: None,
    )
    kept = case.head | {one.layer for one in ranked[:16]}
    assert case.lost(emit(case.model, case.ranges, RECIPE, TENSORRT, kept), 0.3) < 0.3
    assert case.lost(case.emitted(TENSORRT), 0.3) > 0.3


def test_tensorrt_builds_the_convolutions_in_int8_and_the_predictions_in_float(blobs: Case) -> None:
    found = convolution_inputs(blobs.emitted(TENSORRT))
    in_int8 = {name for name, kind in found.items() if kind == "Int8"}
    assert {name.split("_myl")[0] for name in in_int8} == set(layers(blobs.model, blobs.head))
    assert {name.split("_myl")[0] for name in set(found) - in_int8} == {"predict_heat", "predict_sides"}
