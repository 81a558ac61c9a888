"""Heads: recognised by their layout and by nothing less; boxes as the families define them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Mapping, Sequence, Tuple

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from converter.heads import FAMILIES, Head, Signature, choose_head, detect
from converter.model.finish import finish
from converter.model.graph import Tensor
from converter.model.labels import COCO80
from sightd.errors import ModelError

Outputs = Sequence[Tuple[str, Sequence[int]]]

FASTESTDET = ("Sigmoid", "Softmax")


def signature(
    *outputs: Tuple[str, Sequence[int]], width: int = 128, height: int = 64, behind: Sequence[str] = ("Sigmoid",)
) -> Signature:
    tensors = [Tensor(name, "int64" if name.startswith("int") else "float32", tuple(shape)) for name, shape in outputs]
    return Signature(width, height, tuple(tensors), {name: frozenset(behind) for name, _ in outputs})


# At 128 x 64: strides 8, 16, 32 have 128 + 32 + 8 cells; 64 has 2 more.
@pytest.mark.parametrize(
    ("outputs", "family", "expected"),
    [
        ([("o", (1, 168, 85))], "yolox", {"classes": 80, "anchors": 168}),
        ([("o", (1, 170, 6))], "yolox", {"classes": 1, "anchors": 170}),
        ([("h", (1, 16, 32, 80)), ("b", (1, 16, 32, 4))], "centernet", {"stride": 4, "channels_last": True}),
        ([("b", (1, 4, 8, 16)), ("h", (1, 3, 8, 16))], "centernet", {"stride": 8, "places": (1, 0), "classes": 3}),
        ([("h", (2, 1, 16, 32)), ("r", (2, 2, 16, 32)), ("wh", (2, 2, 16, 32))], "centernet", {"places": (0, 2, 1)}),
        ([("h", (1, 1, 16, 32)), ("a", (1, 2, 16, 32)), ("b", (1, 2, 16, 32))], "centernet", {"places": (0, 1, 2)}),
        ([("b", (1, 16, 32, 4)), ("heat", (1, 16, 32, 4))], "centernet", {"classes": 4, "places": (1, 0)}),
        ([("b", (1, 9, 4)), ("s", (1, 9, 7))], "boxes-scores", {"classes": 7, "anchors": 9, "places": (0, 1)}),
        ([("s", (1, 9)), ("int", (1, 9)), ("b", (1, 9, 4))], "boxes-scores", {"classes": None, "places": (2, 0, 1)}),
    ],
)
def test_a_layout_is_recognised_by_its_outputs(outputs: Outputs, family: str, expected: Mapping[str, Any]) -> None:
    head = choose_head(signature(*outputs), None, {})
    assert head.family == family
    assert {name: getattr(head, name) for name in expected} == expected


def seen_boxes(rows: Sequence[Sequence[float]]) -> Signature:
    outputs = signature(("b", (1, len(rows), 4)), ("s", (1, len(rows), 7)), behind=())
    return replace(outputs, values={"b": np.array([rows], np.float32)})


@pytest.mark.parametrize(
    ("row", "box_format", "box_unit"),
    [
        ([5, 5, 9, 9], "xyxy", "pixels"),
        ([9, 9, 2, 3], "cxcywh", "pixels"),
        ([0.1, 0.2, 0.3, 0.3], "xyxy", "fraction"),
        ([0.5, 0.5, 0.1, 0.2], "cxcywh", "fraction"),
    ],
)
def test_plain_boxes_are_what_those_seen_can_be(row: Sequence[float], box_format: str, box_unit: str) -> None:
    head = choose_head(seen_boxes([row]), None, {})
    assert (getattr(head, "box_format"), getattr(head, "box_unit")) == (box_format, box_unit)  # noqa: B009
    assert f"{box_format} in {box_unit}" in head.assumptions[0]


def test_offsets_from_unknown_anchors_are_no_boxes_unless_the_user_says_so() -> None:
    outputs = seen_boxes([[0.1, -0.2, -0.3, 0.4], [1, 2, 3, 4]])
    with pytest.raises(ModelError, match="no layout known"):
        detect(outputs)
    assert choose_head(outputs, "boxes-scores", {}).anchors == 2


@pytest.mark.parametrize(
    "outputs",
    [
        [("a grid without a softmax", (1, 85, 4, 8))],
        [("yolov5", (1, 504, 85))],
        [("yolov8 of another grid", (1, 84, 169))],
        [("no classes", (1, 168, 5))],
        [("end to end", (1, 100, 6))],
        [("b", (1, 9, 4)), ("s", (1, 8, 7))],
        [("b", (1, 9, 4)), ("four classes", (1, 9, 4))],
        [("s", (1, 9)), ("float classes", (1, 9)), ("b", (1, 9, 4))],
        [("h", (1, 16, 32, 80)), ("b", (1, 16, 31, 4))],
        [("four classes", (1, 16, 32, 4)), ("b", (1, 16, 32, 4))],
        [("not a whole stride", (1, 10, 20, 80)), ("b", (1, 10, 20, 4))],
        [("scalar", ())],
    ],
)
def test_anything_else_is_refused_with_what_was_seen_and_what_is_supported(outputs: Outputs) -> None:
    with pytest.raises(ModelError) as error:
        detect(signature(*outputs))
    message = str(error.value)
    assert all(f"{name!r} float32 {list(shape)}" in message for name, shape in outputs)
    assert all(f"{family}: " in message for family in FAMILIES)
    assert "--head" in message


@pytest.mark.parametrize(
    ("behind", "family"),
    [
        (["Sigmoid"], "yolox"),
        (["Sigmoid", "Exp", "Sub"], "yolox"),
        (["Sigmoid", "Softmax"], "yolov8"),
        (["Sigmoid", "Sub"], "yolov8"),
    ],
)
def test_as_many_anchors_are_told_apart_by_how_the_boxes_were_made(behind: Sequence[str], family: str) -> None:
    assert detect(signature(("o", (1, 168, 84)), behind=behind)) == family


def test_a_named_head_that_does_not_fit_says_what_it_needs_and_what_it_got() -> None:
    with pytest.raises(ModelError, match=r"yolox needs one output .* outputs are: 'o' float32 \[1, 9, 4\]; 's'"):
        choose_head(signature(("o", (1, 9, 4)), ("s", (1, 9, 3))), "yolox", {})


def test_a_misspelt_head_is_suggested() -> None:
    with pytest.raises(ModelError, match="did you mean yolox"):
        choose_head(signature(("o", (1, 168, 85))), "yolo-x", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_formt": "xyxy"}, "no option 'box_formt' .it has: box_format, box_unit"),
        ({"box_format": "xywh"}, "box_format is 'xywh', must be one of xyxy, cxcywh"),
    ],
)
def test_wrong_options_are_refused(options: Mapping[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        choose_head(signature(("b", (1, 9, 4)), ("s", (1, 9, 3))), None, options)


def test_what_the_layout_does_not_tell_is_said_until_it_is_given() -> None:
    outputs = signature(("b", (1, 9, 4)), ("s", (1, 9, 3)))
    (assumption,) = choose_head(outputs, None, {}).assumptions
    assert "xyxy in pixels" in assumption
    assert choose_head(outputs, None, {"box_format": "xyxy", "box_unit": "pixels"}).assumptions == ()


def test_size_and_offset_told_apart_by_order_only_is_said() -> None:
    planes = ("a", (1, 2, 16, 32)), ("b", (1, 2, 16, 32))
    (assumption,) = choose_head(signature(("h", (1, 1, 16, 32)), *planes), None, {}).assumptions
    assert "'a'" in assumption


def decode(head: Head, *outputs: NDArray[np.float32]) -> Tuple[List[float], int, float]:
    """The best anchor's box, class and score."""
    boxes, scores = head.decode(outputs)
    assert boxes.shape == (head.anchors, 4)
    assert boxes.dtype == scores.dtype == np.float32
    anchor, class_id = np.unravel_index(scores.argmax(), scores.shape)
    return boxes[anchor].tolist(), int(class_id), float(scores[anchor, class_id])


def test_yolox_boxes_are_cell_plus_offset_times_stride() -> None:
    head = choose_head(signature(("o", (1, 168, 8)), behind=["Sigmoid"]), None, {})
    rows = np.zeros((168, 8), np.float32)
    cell = 128 + 8 * 2 + 3  # stride 16, third row, fourth column
    rows[cell] = [0.5, 0.25, np.log(2), np.log(4), 0.5, 0.1, 0.8, 0.2]
    box, class_id, score = decode(head, rows)
    # centre (3.5, 2.25) * 16, size (2, 4) * 16
    assert box == pytest.approx([56 - 16, 36 - 32, 56 + 16, 36 + 32])
    assert (class_id, score) == (1, pytest.approx(0.4))


def test_yolox_decoded_inside_is_centre_and_size() -> None:
    head = choose_head(signature(("o", (1, 168, 6)), behind=["Sigmoid", "Exp"]), None, {})
    rows = np.zeros((168, 6), np.float32)
    rows[100] = [50, 40, 20, 10, 1, 0.9]
    assert decode(head, rows) == ([40, 35, 60, 45], 0, pytest.approx(0.9))


def test_centernet_distances_start_at_the_cells_corner() -> None:
    head = choose_head(signature(("h", (1, 16, 32, 2)), ("d", (1, 16, 32, 4))), None, {})
    heat, sides = np.zeros((16, 32, 2), np.float32), np.zeros((16, 32, 4), np.float32)
    heat[5, 10, 1], sides[5, 10] = 0.9, [1, 2, 3, 4]
    assert decode(head, heat, sides) == ([39, 18, 43, 24], 1, pytest.approx(0.9))


def test_centernet_size_and_offset_are_in_cells() -> None:
    outputs = ("hm", (1, 2, 16, 32)), ("wh", (1, 2, 16, 32)), ("reg", (1, 2, 16, 32))
    head = choose_head(signature(*outputs, behind=[]), None, {})
    heat, size, offset = (np.zeros((2, 16, 32), np.float32) for _ in range(3))
    heat[:], size[:, 5, 10], offset[:, 5, 10] = -9, [2, 4], [0.5, 0.25]
    heat[1, 5, 10] = 0  # a logit
    assert decode(head, heat, size, offset) == ([38, 13, 46, 29], 1, pytest.approx(0.5))


def test_only_peaks_of_a_heatmap_are_objects() -> None:
    head = choose_head(signature(("h", (1, 16, 32, 1)), ("d", (1, 16, 32, 4))), None, {})
    heat = np.zeros((16, 32, 1), np.float32)
    heat[5, 9:12, 0] = [0.7, 0.9, 0.8]
    heat[15, 31, 0] = 0.3  # a peak in the very corner
    _, scores = head.decode([heat, np.zeros((16, 32, 4), np.float32)])
    assert sorted(scores[scores > 0].tolist()) == pytest.approx([0.3, 0.9])


@pytest.mark.parametrize(
    ("options", "box"),
    [
        ({}, [0.25, 0.5, 0.5, 0.25]),
        ({"box_format": "cxcywh"}, [0, 0.375, 0.5, 0.625]),
        ({"box_unit": "fraction"}, [32, 32, 64, 16]),
        ({"box_format": "cxcywh", "box_unit": "fraction"}, [0, 24, 64, 40]),
    ],
)
def test_plain_boxes_follow_their_options(options: Mapping[str, str], box: Sequence[float]) -> None:
    head = choose_head(signature(("b", (1, 2, 4)), ("s", (1, 2, 3))), None, options)
    boxes = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.5, 0.25]], np.float32)
    scores = np.array([[0.1, 0.2, 0.1], [0.1, 0.2, 0.7]], np.float32)
    assert decode(head, boxes, scores) == (pytest.approx(box), 2, pytest.approx(0.7))


def test_classes_of_their_own_become_a_column() -> None:
    head = choose_head(signature(("s", (1, 2)), ("int", (1, 2)), ("b", (1, 2, 4))), None, {})
    boxes = np.array([[0, 0, 1, 1], [2, 2, 3, 3]], np.float32)
    found = decode(head, np.array([0.3, 0.6], np.float32), np.array([1, 4], np.int64), boxes)
    assert found == ([2, 2, 3, 3], 4, pytest.approx(0.6))


@pytest.mark.parametrize(
    ("shape", "behind"),
    [((1, 8, 4, 8), ["Sigmoid"]), ((1, 5, 4, 8), FASTESTDET), ((1, 8, 3, 8), FASTESTDET), ((1, 8, 5, 10), FASTESTDET)],
)
def test_a_grid_that_fastestdet_does_not_make_is_refused(shape: Sequence[int], behind: Sequence[str]) -> None:
    with pytest.raises(ModelError, match=r"fastestdet needs one output .*at 128x64 this is 'o' float32"):
        choose_head(signature(("o", shape), behind=behind), "fastestdet", {})


def test_fastestdet_boxes_are_fractions_of_the_input() -> None:
    head = choose_head(signature(("o", (1, 8, 4, 8)), behind=FASTESTDET), None, {})
    assert (head.family, head.anchors, head.classes) == ("fastestdet", 32, 3)
    plane = np.zeros((8, 4, 8), np.float32)
    plane[:, 2, 5] = [0.5, np.arctanh(0.5), np.arctanh(-0.25), 0, np.log(1 / 3), 0.1, 0.8, 0.1]
    box, class_id, score = decode(head, plane)
    # centre ((5 + 0.5) / 8 of 128, (2 - 0.25) / 4 of 64), size (1 / 2 of 128, 1 / 4 of 64)
    assert box == pytest.approx([88 - 32, 28 - 8, 88 + 32, 28 + 8], abs=1e-4)
    assert (class_id, score) == (1, pytest.approx(0.5**0.6 * 0.8**0.4))


def test_the_real_fastestdet_is_recognised_and_its_batch_is_freed(assets: Any) -> None:
    model = onnx.load(str(assets / "models" / "fastestdet" / "FastestDet.onnx"))
    done = finish(model, labels=COCO80)
    assert (done.head.family, done.spec.resize, done.notes) == ("fastestdet", "stretch", ())
    assert done.max_batch > 1
