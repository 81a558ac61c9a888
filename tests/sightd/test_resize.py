from __future__ import annotations

import cv2
import numpy as np
import pytest

from sightd.resize import placement, resize_into
from sightd.types import RESIZES, InputSpec


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def filled(spec: InputSpec, image: np.ndarray) -> np.ndarray:
    buffer = np.full((spec.height, spec.width, 3), 7, np.uint8)
    resize_into(buffer, image, spec)
    return buffer


def test_letterbox_topleft_keeps_the_shape_and_pads_right_and_below() -> None:
    spec = InputSpec(64, 64, resize="letterbox-topleft", pad_value=114)
    image = noise(128, 72)
    buffer = filled(spec, image)
    assert np.array_equal(buffer[:36], cv2.resize(image, (64, 36)))
    assert (buffer[36:] == 114).all()


def test_letterbox_centre_pads_both_sides() -> None:
    spec = InputSpec(64, 64, resize="letterbox-centre", pad_value=0)
    image = noise(72, 128)
    buffer = filled(spec, image)
    assert (buffer[:, :14] == 0).all()
    assert np.array_equal(buffer[:, 14:50], cv2.resize(image, (36, 64)))
    assert (buffer[:, 50:] == 0).all()


def test_stretch_fills_the_input() -> None:
    spec = InputSpec(64, 32, resize="stretch", interpolation="area")
    image = noise(200, 200)
    assert np.array_equal(filled(spec, image), cv2.resize(image, (64, 32), interpolation=cv2.INTER_AREA))


def test_a_picture_of_the_inputs_size_is_copied_as_it_is() -> None:
    image = noise(64, 64)
    assert np.array_equal(filled(InputSpec(64, 64), image), image)


def test_the_buffer_of_a_batch_is_written_in_place_and_its_neighbours_are_left_alone() -> None:
    batch = np.zeros((3, 64, 64, 3), np.uint8)
    resize_into(batch[1], noise(100, 50), InputSpec(64, 64))
    assert not batch[0].any()
    assert not batch[2].any()
    assert batch[1].any()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1920, 1080), (768, 576), (333, 777), (5000, 3), (3, 5000), (1, 1)])
def test_boxes_return_to_where_they_were_in_the_source(resize: str, size: tuple) -> None:
    width, height = size
    place = placement(InputSpec(416, 320, resize=resize), width, height)
    source = np.array([[0, 0, width, height], [width * 0.25, height * 0.5, width * 0.5, height]], np.float32)
    scale = np.array([place.scale_x, place.scale_y] * 2)
    offset = np.array([place.offset_x, place.offset_y] * 2)
    inside = (source * scale + offset).astype(np.float32)
    assert inside.min() >= 0
    assert (inside[:, 2] <= 416 + 1e-3).all()
    assert (inside[:, 3] <= 320 + 1e-3).all()
    assert np.allclose(place.to_source(inside), source, atol=max(size) * 1e-4)


def test_boxes_are_clipped_to_the_picture() -> None:
    place = placement(InputSpec(100, 100, resize="stretch"), 200, 50)
    boxes = place.to_source(np.array([[-10, -10, 300, 300]], np.float32))
    assert boxes.tolist() == [[0, 0, 200, 50]]


def test_an_exact_multiple_is_not_lost_to_rounding() -> None:
    for width in range(1, 2000):
        place = placement(InputSpec(416, 416, resize="letterbox-topleft"), width, width)
        assert round(place.scale_x * width) == 416


@pytest.mark.parametrize(
    "wrong",
    [{"resize": "crop"}, {"interpolation": "magic"}, {"channel_order": "gbr"}, {"std": (1, 0, 1)}, {"pad_value": 256}],
)
def test_a_spec_that_can_not_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        InputSpec(64, 64, **wrong)
