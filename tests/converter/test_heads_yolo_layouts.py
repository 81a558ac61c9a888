"""The YOLO family and its neighbours by shape and operators alone: recognised, refused, or another task."""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Sequence, Tuple

import numpy as np
import pytest

from converter.heads import Signature, choose_head, detect
from converter.model.graph import Tensor
from sightd.errors import ModelError

# At 128 x 64: strides 8, 16, 32 have 128 + 32 + 8 cells; 64 has 2 more.
MAPS = ((8, 16), (4, 8), (2, 4))


def signature(*outputs: Sequence[int], behind: Sequence[str] = ("Sigmoid", "Mul")) -> Signature:
    tensors = tuple(Tensor(f"o{place}", "float32", tuple(shape)) for place, shape in enumerate(outputs))
    return Signature(128, 64, tensors, {tensor.name: frozenset(behind) for tensor in tensors})


def maps(*channels: int) -> Sequence[Tuple[int, ...]]:
    return [(1, number, *grid) for grid in MAPS for number in channels]


@pytest.mark.parametrize(
    ("given", "family"),
    [
        (signature((1, 84, 168)), "yolov8"),
        (signature((1, 5, 170)), "yolov8"),
        (signature((1, 168, 6), behind=["Sigmoid"]), "yolox"),
        (signature((1, 168, 6), behind=["Sigmoid", "Softmax"]), "yolov8"),
        (signature((1, 504, 6)), "yolov5"),
        (signature((1, 510, 85)), "yolov5"),
        (signature((1, 504, 85), *((1, 3, *grid, 85) for grid in MAPS)), "yolov5"),
        (signature((1, 84, 168), *maps(144)), "yolov8"),
        (signature(*maps(144), behind=["Concat"]), "yolov8-raw"),
        (signature(*maps(144), behind=[]), "yolov5-raw"),
        (signature(*maps(64, 80), behind=[]), "yolov8-raw"),
        (signature(*maps(80, 64, 1), behind=[]), "yolov8-raw"),
        (signature(*((1, 3, *grid, 85) for grid in MAPS), behind=["Concat"]), "yolov5-raw"),
        (signature((1, 300, 6), behind=["TopK", "Sigmoid"]), "end-to-end"),
        (signature((1, 168, 6), behind=["ArgMax", "Sigmoid", "Softmax"]), "end-to-end"),
    ],
)
def test_one_family_and_no_other_is_recognised(given: Signature, family: str) -> None:
    assert detect(given) == family


def test_as_many_rows_as_anchors_are_still_a_selection_behind_a_top_k() -> None:
    assert choose_head(signature((1, 168, 6), behind=["TopK", "Sigmoid"]), None, {}).nms_iou == 1
    assert choose_head(signature((1, 168, 6), behind=["ArgMax", "Sigmoid"]), None, {}).nms_iou < 1


@pytest.mark.parametrize("last", [False, True])
def test_as_many_channels_as_cells_are_told_apart_by_where_the_scores_are(last: bool) -> None:
    rows = np.full((1, 168, 168), 0.5, np.float32)
    rows[:, :, :4] = 100
    values = {"o0": rows if last else rows.transpose(0, 2, 1)}
    head = choose_head(replace(signature((1, 168, 168), behind=["Sigmoid", "Softmax"]), values=values), None, {})
    assert (head.family, getattr(head, "channels_last")) == ("yolov8", last)  # noqa: B009  (only this head has it)


def test_maps_behind_a_sigmoid_are_no_bins() -> None:
    given = signature(*maps(64, 32), behind=[])
    scores = {tensor.name: frozenset(["Sigmoid"]) for tensor in given.outputs if tensor.shape[1] == 64}
    assert detect(replace(given, behind={**given.behind, **scores})) == "nanodet"


@pytest.mark.parametrize(
    "given",
    [
        signature((1, 84, 169)),
        signature((1, 84, 168), behind=["Softmax"]),  # logits
        signature((1, 504, 85), behind=[]),
        signature((1, 300, 6)),
        signature(*maps(85), behind=["Concat", "Sigmoid"]),  # YOLOX's
        signature(*maps(64, 64), behind=[]),
        signature(*maps(144)[:2], behind=["Concat"]),
        signature((1, 84, 168), (1, 84, 168)),
    ],
)
def test_what_is_none_of_them_is_refused(given: Signature) -> None:
    with pytest.raises(ModelError, match="no layout known"):
        detect(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (signature((1, 116, 168), (1, 32, 16, 32)), "segmentation model, whose masks"),
        (signature((1, 504, 117), (1, 32, 16, 32)), "segmentation model"),
        (signature((1, 300, 38), (1, 32, 16, 32), behind=["TopK"]), "segmentation model"),
        (signature((1, 20, 168), behind=["Sigmoid", "Cos", "Sin"]), "rotated boxes"),
        (signature((1, 56, 168)), "pose model, whose key points.* a detector of 52 classes, name its head"),
        (signature((1, 504, 57)), "pose model"),
    ],
)
def test_models_for_another_task_are_refused_with_a_way_out(given: Signature, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        detect(given)


def test_a_detector_of_as_many_classes_as_a_pose_model_has_numbers_can_be_named() -> None:
    assert choose_head(signature((1, 56, 168)), "yolov8", {}).classes == 52


@pytest.mark.parametrize(
    ("family", "given", "options", "message"),
    [
        (
            "yolov5-raw",
            signature(*maps(24), behind=[]),
            {"anchors": "10x13"},
            "like 10x13,16x30, as many for each of the 3",
        ),
        ("yolov5-raw", signature(*maps(24), behind=[]), {"anchors": "yolov9"}, "must be yolov5, yolov7, or widths"),
        ("yolov5-raw", signature(*maps(24), behind=[]), {"anchors": "0x1,2x2,3x3"}, "must be yolov5"),
        ("yolov5-raw", signature(*maps(25), behind=[]), {}, "needs for each grid .* 3 anchors a cell were expected"),
        (
            "yolov5-raw",
            signature((1, 24, 4, 8), (1, 24, 2, 4), behind=[]),
            {},
            "strides 16, 32 no anchor boxes are published",
        ),
        ("yolov8-raw", signature(*maps(67), behind=["Concat"]), {"reg_max": "many"}, "reg_max is 'many', must be"),
        ("yolov8-raw", signature(*maps(67), behind=["Concat"]), {"reg_max": "32"}, "reg_max is 32"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    family: str, given: Signature, options: Mapping[str, str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        choose_head(given, family, options)


def test_fewer_or_more_anchors_a_cell_are_taken_as_they_are_given() -> None:
    head = choose_head(
        signature(*maps(16), behind=[]), "yolov5-raw", {"anchors": "10x13,16x30,30x61,62x45,116x90,156x198"}
    )
    assert (head.classes, head.anchors) == (3, 2 * 168)
