"""The reference: its preprocessing against known values and against sightd.resize, and its detections."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import numpy as np
import pytest

from converter.agreement.reference import Reference, normalised, placed
from converter.model.finish import finish
from converter.model.graph import describe
from sightd.errors import ModelError
from sightd.resize import resize_into
from sightd.types import Image, InputSpec
from tests.parts.models import HEIGHT, WIDTH, centernet_distances, yolox


def picture(width: int, height: int) -> Image:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1280, 720), (50, 40), (96, 64), (1, 1), (3000, 5)])
@pytest.mark.parametrize("interpolation", ["linear", "area", "nearest"])
@pytest.mark.parametrize("resize", ["letterbox-topleft", "letterbox-centre", "stretch"])
def test_it_places_pictures_as_the_daemon_does_but_by_its_own_code(
    resize: str, interpolation: str, size: Tuple[int, int]
) -> None:
    if resize == "stretch" and size in ((1, 1), (3000, 5)) and interpolation == "area":
        pytest.skip("OpenCV's area interpolation is another one where one axis grows and one shrinks")
    spec = InputSpec(96, 64, resize=resize, interpolation=interpolation, pad_value=9)
    image = picture(*size)
    served = np.empty((64, 96, 3), np.uint8)
    place = resize_into(served, image, spec)
    pixels, own_place = placed(image, spec)
    assert own_place == place
    # OpenCV computes in fixed point, so a value in between may round the other way.
    assert np.abs(pixels.astype(int) - served).max() <= 1


def test_linear_interpolation_has_its_pixel_centres_at_halves() -> None:
    image = np.repeat(np.array([[0, 40, 80, 120]], np.uint8)[:, :, None], 3, axis=2)
    halved, _ = placed(image, InputSpec(2, 1, resize="stretch"))
    doubled, _ = placed(image[:, :2], InputSpec(4, 1, resize="stretch"))
    assert halved[0, :, 0].tolist() == [20, 100]
    assert doubled[0, :, 0].tolist() == [0, 10, 30, 40]


def test_area_interpolation_is_the_mean_of_what_is_covered() -> None:
    image = np.repeat(np.array([[0, 60, 120]], np.uint8)[:, :, None], 3, axis=2)
    pixels, _ = placed(image, InputSpec(2, 1, resize="stretch", interpolation="area"))
    assert pixels[0, :, 0].tolist() == [20, 100]


def test_the_centre_letterbox_pads_evenly() -> None:
    pixels, place = placed(np.full((10, 40, 3), 200, np.uint8), InputSpec(20, 20, pad_value=7))
    assert (place.offset_x, place.offset_y, place.scale_x, place.scale_y) == (0, 7, 0.5, 0.5)
    assert (pixels[:7] == 7).all()
    assert (pixels[7:12] == 200).all()
    assert (pixels[12:] == 7).all()


def test_normalising_follows_channel_order_scale_mean_and_std() -> None:
    pixels = np.array([[[10, 20, 30]]], np.uint8)
    spec = InputSpec(1, 1, channel_order="rgb", scale=0.1, mean=(1, 2, 3), std=(2, 4, 8))
    values = normalised(pixels, spec)
    assert values.shape == (3, 1, 1)
    assert values.dtype == np.float32
    assert values[:, 0, 0].tolist() == pytest.approx([(3 - 1) / 2, (2 - 2) / 4, (1 - 3) / 8])
    assert normalised(pixels, InputSpec(1, 1, layout="nhwc"))[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("batch", [1, 3, "N"])
def test_detections_are_in_source_pixels_whatever_the_models_batch(batch: object, tmp_path: Path) -> None:
    model = centernet_distances(batch)  # type: ignore[arg-type]
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    done = finish(model, labels=["a", "b", "c"])
    image = picture(WIDTH * 3, HEIGHT * 2)
    found = Reference(path, done.spec, done.head).detect(image, min_score=0.2, iou=0.5)
    assert len(found) > 0
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)
    assert found.scores.min() >= 0.2
    assert found.boxes[:, 2].max() > WIDTH
    assert (found.boxes <= [WIDTH * 3, HEIGHT * 2] * 2).all()
    candidates, place = Reference(model, done.spec, done.head).candidates(image)
    assert candidates.boxes.shape == (1, 300, 4)
    assert (place.scale_x, place.scale_y) == (pytest.approx(1 / 3), 0.5)


def test_an_unreadable_model_is_an_error(tmp_path: Path) -> None:
    done = finish(yolox(), labels=["a", "b", "c"])
    assert describe(done.model.graph.input[0]).name == "images"
    with pytest.raises(ModelError, match="check the path"):
        Reference(tmp_path / "missing.onnx", done.spec, done.head)
