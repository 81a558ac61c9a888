"""Metadata as Ultralytics writes it: taken where it helps, told where it contradicts, ignored where it is damaged."""

from __future__ import annotations

from typing import Dict, Mapping

import onnx
import pytest
from onnx import helper

from converter.model.finish import finish
from sightd.errors import ModelError
from tests.parts.models import HEIGHT, WIDTH, classifier
from tests.parts.yolo_models import yolov8

# Of an export by Ultralytics 8.4, but for names and size.
EXPORTED: Mapping[str, str] = {
    "description": "Ultralytics YOLOv8n model",
    "author": "Ultralytics",
    "version": "8.4.190",
    "stride": "32",
    "task": "detect",
    "batch": "1",
    "imgsz": f"[{HEIGHT}, {WIDTH}]",
    "names": "{0: 'dog', 1: 'cat', 2: 'ant'}",
    "args": "{'batch': 1, 'nms': None, 'dynamic': False}",
    "channels": "3",
}


def exported(**changes: str) -> onnx.ModelProto:
    return yolov8(metadata={**EXPORTED, **changes})


def opened(**changes: str) -> onnx.ModelProto:
    """Exported with height and width left open."""
    model = yolov8("N", metadata={**EXPORTED, **changes})
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    return model


def test_names_and_size_are_those_of_the_metadata() -> None:
    done = finish(opened())
    assert done.labels == ["dog", "cat", "ant"]
    assert (done.spec.width, done.spec.height) == (WIDTH, HEIGHT)


def test_the_users_size_wins_over_the_metadata() -> None:
    with pytest.raises(ModelError, match=r"fails in ONNX Runtime on an input of \(1, 3, 64, 96\)"):  # the grid is fixed
        finish(opened(), spec_overrides={"width": 96, "height": 64})


@pytest.mark.parametrize("imgsz", [str(WIDTH), f"({WIDTH}, {WIDTH})"])
def test_a_square_size_is_one_number_or_two(imgsz: str) -> None:
    with pytest.raises(ModelError, match=rf"\(1, 3, {WIDTH}, {WIDTH}\)"):
        finish(opened(imgsz=imgsz))


@pytest.mark.parametrize(
    "imgsz",
    ["", "640x640", "[1]", "__import__('os')", "[" * 100_000, "{[]: 1}", "1" + "+1" * 300_000, "[" + "()" * 300_000],
    ids=lambda text: text[:8],
)
def test_a_damaged_size_is_no_size(imgsz: str) -> None:
    with pytest.raises(ModelError, match="--size"):
        finish(opened(imgsz=imgsz))


def test_a_size_that_the_stride_does_not_divide_is_told_with_one_that_it_does() -> None:
    with pytest.raises(ModelError, match=r"100x64 can't be divided by .* stride, 32 .* give --size 128x64"):
        finish(opened(), spec_overrides={"width": 100, "height": 64})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("segment", "by its metadata this is a segmentation model, .* trained for the task detect"),
        ("pose", "this is a pose model"),
        ("obb", "this is a model of rotated boxes"),
        ("depth", "this is a model for the task depth"),
    ],
)
def test_another_task_is_refused(task: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        finish(exported(task=task))


def test_a_classifier_says_that_its_pictures_have_neither_mean_nor_deviation() -> None:
    model = classifier()
    plain = finish(model, labels=["a", "b", "c"]).spec
    helper.set_model_props(model, {"author": "Ultralytics", "task": "classify", "names": "{0: 'a', 1: 'b', 2: 'c'}"})
    made = finish(model)
    assert (made.head.family, made.labels) == ("classifier", ["a", "b", "c"])
    assert (made.spec.mean, made.spec.std) == ((0, 0, 0), (1, 1, 1))
    assert plain.mean != made.spec.mean


@pytest.mark.parametrize("changes", [{"task": "object-detection", "author": "somebody"}, {"stride": "[8, 16]"}])
def test_what_is_not_ultralytics_own_is_left_alone(changes: Dict[str, str]) -> None:
    assert finish(exported(**changes)).head.family == "yolov8"
