"""The YOLO family: recognised, never as two; the graph against the published formulas, alone and in a batch."""

from __future__ import annotations

from typing import List

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from converter.agreement.reference import Reference, normalised
from converter.int8.quantize import quantize
from converter.int8.targets import this_machine
from converter.model.finish import FinishedModel, finish
from converter.model.session import Session
from tests.parts.calibrated import calibrated
from tests.parts.models import HEIGHT, VARIANTS, WIDTH, Batch, make_variant
from tests.parts.yolo_formulas import Object, yolov8_objects
from tests.parts.yolo_models import YOLO_VARIANTS, make_yolo

LABELS = ["a", "b", "c"]
EVERY_ANCHOR = 9999
#: Operators of the decoding, none of the body.
DECODING = frozenset(["Concat", "Sigmoid", "Softmax"])


def family(variant: str) -> str:
    """The family that has to be recognised."""
    return "yolov8"


def finished(variant: str, batch: Batch = 1) -> FinishedModel:
    return finish(make_yolo(variant, batch), labels=LABELS, candidates=EVERY_ANCHOR)


def pictures(count: int) -> NDArray[np.uint8]:
    """Distinct pictures of the input's size, blocks of colour."""
    coarse = np.random.default_rng(5).integers(0, 256, (count, 8, 12, 3), np.uint8)
    return coarse.repeat(HEIGHT // 8, axis=1).repeat(WIDTH // 12, axis=2)


def objects(variant: str, picture: NDArray[np.uint8]) -> List[Object]:
    """What the published formulas make of the model's own predictions before any decoding."""
    model, spec = make_yolo(variant), finished(variant).spec
    names = sorted((name for name in tensors(model) if name.startswith("map")), key=lambda name: int(name[3:]))
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    outputs = Session(model).run(normalised(picture, spec)[None])
    by_name = dict(zip([value.name for value in model.graph.output], outputs))
    return yolov8_objects([by_name[name][0] for name in names], [int(name[3:]) for name in names], len(LABELS))


def tensors(model: onnx.ModelProto) -> List[str]:
    return [tensor for node in model.graph.node for tensor in node.output]


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_a_layout_is_recognised_and_its_batch_is_free(variant: str, batch: Batch) -> None:
    done = finished(variant, batch)
    assert (done.head.family, done.notes) == (family(variant), ())
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
        for boxes, scores, classes in (session.run(image[None]), [output[index : index + 1] for output in together]):
            found = np.concatenate([boxes[0], scores[0, :, None], classes[0, :, None]], axis=1)
            assert found.shape == truth.shape
            assert largest_difference(found, truth) < 2e-3
    assert not np.allclose(together[1][0], together[1][1])


def largest_difference(found: NDArray[np.float32], truth: NDArray[np.float64]) -> float:
    """Both ways, for anchors that score alike may come in any order: the farthest from its nearest in the other."""
    apart = np.abs(found[:, None] - truth[None]).max(axis=2)
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))


@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_the_reference_decodes_alike(variant: str) -> None:
    model, done = make_yolo(variant), finished(variant)
    image = pictures(1)
    truth, _ = Reference(model, done.spec, done.head).candidates(image[0])
    boxes, scores, _ = Session(done.model).run(image)
    np.testing.assert_allclose(scores[:, :300], truth.scores, atol=1e-5)
    np.testing.assert_allclose(boxes[:, :300], truth.boxes, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_in_int8_prediction_layers_and_decoding_stay_float(variant: str) -> None:
    made = calibrated(finished(variant), list(pictures(2)))
    int8 = quantize(
        made.model,
        made.calibration.ranges,
        algorithm="minmax",
        float_nodes=made.floats,
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
