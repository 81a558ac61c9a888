"""The YOLO family: recognised, never as two; the graph against the published formulas, alone and in a batch."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Dict, List, Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from converter.agreement.reference import Reference, normalised
from converter.int8.quantize import quantize
from converter.int8.targets import this_machine
from converter.model.finish import FinishedModel, finish
from converter.model.session import Session
from sightd.errors import ModelError
from sightd.nms import detections
from sightd.types import Candidates, Placement
from tests.parts.calibrated import calibrated
from tests.parts.models import HEIGHT, VARIANTS, WIDTH, Batch, make_variant
from tests.parts.yolo_formulas import Object, yolov5_objects, yolov8_objects, yolov10_objects
from tests.parts.yolo_models import ANCHOR_BOXES, OBJECTS, YOLO_VARIANTS, make_yolo, yolov8_raw

LABELS = ["a", "b", "c"]
EVERY_ANCHOR = 9999
#: Operators of the decoding, none of the body.
DECODING = frozenset(["Concat", "Sigmoid", "Softmax"])


@lru_cache(maxsize=None)
def finished(variant: str, batch: Batch = 1) -> FinishedModel:
    return finish(make_yolo(variant, batch), labels=LABELS, candidates=EVERY_ANCHOR)


def pictures(count: int) -> NDArray[np.uint8]:
    """Distinct pictures of the input's size, noise: no two cells are alike."""
    return np.random.default_rng(5).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def objects(variant: str, picture: NDArray[np.uint8]) -> List[Object]:
    """What the published formulas make of the model's own predictions before any decoding."""
    maps = predictions(make_yolo(variant), normalised(picture, finished(variant).spec))
    if variant.startswith("yolov5"):
        return yolov5_objects(maps, ANCHOR_BOXES)
    if variant == "end-to-end":
        return yolov10_objects(maps, len(LABELS), OBJECTS)
    return yolov8_objects(maps, len(LABELS))


def predictions(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> Dict[int, NDArray[np.float32]]:
    """Stride -> [channels, rows, columns]."""
    made = [tensor for node in model.graph.node for tensor in node.output]
    names = [match for match in map(re.compile("(box|map|cls)([0-9]+)").fullmatch, made) if match]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name.string) for name in names)
    maps: Dict[int, List[NDArray[np.float32]]] = {}
    for name, output in zip(names, Session(model).run(pixels[None])):
        maps.setdefault(int(name.group(2)), []).append(output[0])
    return {stride: np.concatenate(parts) for stride, parts in sorted(maps.items())}


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_a_layout_is_recognised_and_its_batch_is_free(variant: str, batch: Batch) -> None:
    done = finished(variant, batch)
    assert done.head.family == variant.split(maxsplit=1)[0]
    assert [note for note in done.notes if "anchor boxes" not in note] == []
    assert done.max_batch > 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_families_are_not_mistaken_for_one_of_these(variant: str) -> None:
    assert finish(make_variant(variant), labels=LABELS).head.family in variant


@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_boxes_scores_and_classes_are_those_of_the_published_formulas(variant: str) -> None:
    session, images = Session(finished(variant).model), pictures(4)
    together = session.run(images)
    for index, image in enumerate(images):
        truth = np.array(objects(variant, image))
        assert largest_difference(rows(session.run(image[None])), truth) < 2e-3
        assert largest_difference(rows([output[index:] for output in together]), truth) < 2e-3
    assert not np.allclose(together[1][0], together[1][1])


@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_the_reference_decodes_alike(variant: str) -> None:
    model, done = make_yolo(variant), finished(variant)
    image = pictures(1)
    truth, _ = Reference(model, done.spec, done.head).candidates(image[0])
    best = rows([truth.boxes, truth.scores, truth.classes])
    assert largest_difference(rows(Session(done.model).run(image))[: len(best)], best) < 2e-3


def rows(outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """The first picture's boxes, scores and classes, [K, 6]."""
    boxes, scores, classes = (output[0] for output in outputs)
    return np.concatenate([boxes, scores[:, None], classes[:, None]], axis=1)


def largest_difference(found: NDArray[np.float32], truth: NDArray[np.float64]) -> float:
    """Over rows that score alike up to rounding and so may have changed places with a neighbour."""
    found, truth = (rows[np.argsort(-rows[:, 4], kind="stable")] for rows in (found, truth))
    both_ways = (found, truth), (truth, found)
    apart = [[np.abs(a - np.roll(b, shift, 0)).max(axis=1) for shift in range(-2, 3)] for a, b in both_ways]
    return float(np.min(apart, axis=1).max())


@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_in_int8_prediction_layers_and_decoding_stay_float(variant: str) -> None:
    made = calibrated(finished(variant), list(pictures(2)))
    int8 = quantize(
        made.model,
        made.calibration.ranges,
        algorithm="minmax",
        float_nodes=made.head,
        scope="all",
        target=this_machine(),
    )
    convolutions = [node for node in int8.graph.node if node.op_type == "Conv"]
    clamped = {node.input[0] for node in int8.graph.node if node.op_type == "Relu"}
    integers = {tensor for node in int8.graph.node if node.op_type == "DequantizeLinear" for tensor in node.output}
    body = {node.name for node in convolutions if node.output[0] in clamped}
    assert {node.name for node in convolutions if node.input[1] in integers} == body
    assert len(convolutions) >= len(body) + 3
    behind = [node for node in int8.graph.node if node.op_type in DECODING]
    assert behind
    assert not integers & {tensor for node in behind for tensor in node.input}


def test_what_has_selected_is_not_suppressed_and_what_has_not_is() -> None:
    assert finished("end-to-end").head.nms_iou == 1
    assert finished("end-to-end of every anchor").head.nms_iou == finished("yolov8").head.nms_iou == 0.45
    boxes = np.array([[[0, 0, 20, 20], [1, 0, 21, 20], [0, 0, 20, 20]]], np.float32)
    three = Candidates(boxes, np.array([[0.9, 0.8, 0.7]], np.float32), np.zeros((1, 3), np.int32))
    (found,) = detections(
        three, [Placement(1, 1, 0, 0, 64, 64)], min_score=0.3, iou=finished("end-to-end").head.nms_iou
    )
    assert len(found) == 3


@pytest.mark.parametrize("given", ["yolov7", "12x16,19x36,40x28,36x75,76x55,72x146,142x110,192x243,459x401"])
def test_anchor_boxes_are_given_by_name_or_by_size(given: str) -> None:
    options = {"anchors": given}
    done = finish(make_yolo("yolov5-raw"), labels=LABELS, head_options=options, candidates=EVERY_ANCHOR)
    assert done.notes == ()
    boxes = {
        8: [(12, 16), (19, 36), (40, 28)],
        16: [(36, 75), (76, 55), (72, 146)],
        32: [(142, 110), (192, 243), (459, 401)],
    }
    picture = pictures(1)
    truth = np.array(yolov5_objects(predictions(make_yolo("yolov5-raw"), normalised(picture[0], done.spec)), boxes))
    assert largest_difference(rows(Session(done.model).run(picture)), truth) < 2e-3


def test_anchor_boxes_that_are_taken_for_granted_are_told() -> None:
    (note,) = finished("yolov5-raw").notes
    assert "yolov5's for strides 8, 16, 32" in note
    assert "--head-option anchors=yolov7" in note


def test_bins_of_another_number_are_given() -> None:
    model = yolov8_raw(apart=True, reg_max=8)
    with pytest.raises(ModelError, match="no layout known"):
        finish(model, labels=LABELS)
    done = finish(model, labels=LABELS, head="yolov8-raw", head_options={"reg_max": "8"}, candidates=EVERY_ANCHOR)
    picture = pictures(1)
    truth = np.array(yolov8_objects(predictions(model, normalised(picture[0], done.spec)), len(LABELS)))
    assert largest_difference(rows(Session(done.model).run(picture)), truth) < 2e-3


def test_outputs_without_a_declared_shape_are_no_obstacle() -> None:
    model = make_yolo("yolov8-raw")
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    assert finish(model, labels=LABELS).max_batch > 1
