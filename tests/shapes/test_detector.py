"""The committed detector on pictures whose truth is known: as given, finished, at any batch, and told wrong things."""

from __future__ import annotations

from typing import Callable, Iterator, List

import numpy as np
import pytest

from converter.agreement.average_precision import average_precision
from converter.agreement.ground_truth import LabelledImage, read_ground_truth, read_labelled_image
from converter.agreement.measure import detect
from converter.agreement.reference import Reference
from converter.builders.onnxruntime import KIND
from converter.model.finish import FinishedModel, finish
from converter.model.graph import load_onnx
from sightd.engines import Engine, EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.types import Detections, Image
from tests.parts.int8 import write_float
from tests.shapes.detector import MODEL, Rates, rates
from tests.shapes.drawing import LABELS
from tests.shapes.scene import picture
from tests.shapes.writing import write_labelled

PICTURES = 80
_OUTPUT = OutputSpec()
_LOWEST = 0.001


@pytest.fixture(scope="module")
def finished() -> FinishedModel:
    return finish(load_onnx(MODEL))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> List[LabelledImage]:
    annotations = write_labelled(tmp_path_factory.mktemp("labelled") / "set", range(PICTURES))
    return read_ground_truth(annotations, LABELS)


@pytest.fixture(scope="module")
def images(labelled: List[LabelledImage]) -> List[Image]:
    return [read_labelled_image(one) for one in labelled]


@pytest.fixture(scope="module")
def engine(finished: FinishedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    file = tmp_path_factory.mktemp("engine") / "float.onnx"
    write_float(finished.model, file)
    with load_engine(KIND, file, finished.spec, 4, EngineOptions()) as loaded:
        yield loaded


def test_all_that_a_conversion_needs_is_in_the_file(finished: FinishedModel) -> None:
    assert MODEL.stat().st_size <= 300_000
    assert (finished.head.family, finished.labels, finished.candidates) == ("yolov8", list(LABELS), 300)
    spec = finished.spec
    assert (spec.width, spec.height, spec.resize, spec.channel_order) == (160, 160, "letterbox-centre", "rgb")
    assert spec.scale == pytest.approx(1 / 255)


def test_it_finds_the_shapes_of_pictures_that_it_was_not_trained_on(
    engine: Engine, labelled: List[LabelledImage], images: List[Image]
) -> None:
    measured = average_precision(labelled, detect(engine, images, _OUTPUT, _LOWEST, batch=4))
    assert measured.objects > 150
    assert measured.ap50 >= 0.93
    assert measured.ap >= 0.78


def test_at_the_usual_threshold_it_finds_nearly_all_and_hardly_anything_else(engine: Engine) -> None:
    measured = measured_at(engine, range(100, 140))
    assert measured.recall >= 0.92, measured
    assert measured.precision >= 0.92, measured
    assert measured.iou >= 0.85, measured


def test_finished_it_detects_what_it_does_as_given(
    finished: FinishedModel, engine: Engine, labelled: List[LabelledImage], images: List[Image]
) -> None:
    reference = Reference(load_onnx(MODEL), finished.spec, finished.head)
    some = slice(20)
    given = [reference.detect(image, _LOWEST, _OUTPUT.nms_iou) for image in images[some]]
    ours = detect(engine, images[some], _OUTPUT, _LOWEST)
    precisions = [average_precision(labelled[some], found).ap for found in (given, ours)]
    assert precisions[0] == pytest.approx(precisions[1], abs=0.003)
    for wanted, found in zip(map(confident, given), map(confident, ours)):
        assert found.classes.tolist() == wanted.classes.tolist()
        assert np.abs(found.boxes - wanted.boxes).max(initial=0) < 2  # pixels of 640: the two resize by themselves


def test_a_batch_of_four_is_four_times_a_batch_of_one(engine: Engine, images: List[Image]) -> None:
    single, four = (detect(engine, images[:8], _OUTPUT, 0.05, batch=batch) for batch in (1, 4))
    for one, other in zip(single, four):
        assert one.classes.tolist() == other.classes.tolist()
        assert np.allclose(one.boxes, other.boxes, atol=1e-2)
        assert np.allclose(one.scores, other.scores, atol=1e-4)


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda image: np.ascontiguousarray(image[:, :, ::-1]), id="red and blue swapped"),
        pytest.param(lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, 2).astype(np.uint8), id="grey"),
    ],
)
def test_without_its_colour_an_object_is_not_found(engine: Engine, spoilt: Callable[[Image], Image]) -> None:
    assert measured_at(engine, range(100, 120), spoilt).recall < 0.1


def confident(found: Detections) -> Detections:
    keep = found.scores > 0.5
    return Detections(found.boxes[keep], found.scores[keep], found.classes[keep])


def measured_at(engine: Engine, seeds: range, change: Callable[[Image], Image] = lambda image: image) -> Rates:
    """What is found at the bundle's default threshold on pictures of *seeds*, each changed first."""
    drawn = [picture(seed) for seed in seeds]
    found = detect(engine, [change(image) for image, _ in drawn], _OUTPUT, _OUTPUT.min_score, batch=4)
    named = [[(LABELS[c], box) for c, box in zip(one.classes.tolist(), one.boxes.tolist())] for one in found]
    return rates((truth, objects) for (_, truth), objects in zip(drawn, named))
