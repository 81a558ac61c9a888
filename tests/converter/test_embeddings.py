"""What pictures mean to a model."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest

from converter.calibration.embeddings import embedder, feature_tensor
from converter.model.finish import FinishedModel, finish
from converter.model.graph import load_onnx
from sightd.types import Image
from tests.parts.blobs import LABELS, blob_detector, blob_picture
from tests.parts.models import VARIANTS, Net, make_variant


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> FinishedModel:
    return finish(load_onnx(blob_detector(tmp_path_factory.mktemp("model") / "blobs.onnx")), labels=LABELS)


def squares(colour: int, places: int) -> Image:
    picture = np.full((96, 96, 3), 10, np.uint8)
    picture[20:40, 10 : 10 + 20 * places] = (colour, 220, colour)
    return picture


def test_pictures_that_the_model_sees_alike_lie_close_together(blobs: FinishedModel) -> None:
    embed = embedder(blobs.model, blobs.spec)
    assert embed is not None
    green, moved, white = embed(squares(10, 2)), embed(squares(10, 2)[:, ::-1]), embed(squares(220, 2))
    assert np.linalg.norm(green - moved) < 0.1 * np.linalg.norm(green - white)


def test_a_point_has_length_one_and_is_its_own(blobs: FinishedModel) -> None:
    embed = embedder(blobs.model, blobs.spec)
    assert embed is not None
    first, again = embed(blob_picture(1)), embed(blob_picture(2))
    assert first.dtype == np.float32
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    assert not np.array_equal(first, again)
    assert np.array_equal(first, embed(blob_picture(1)))


def test_a_picture_without_any_feature_is_no_error(blobs: FinishedModel) -> None:
    embed = embedder(blobs.model, blobs.spec)
    assert embed is not None
    assert embed(np.zeros((96, 96, 3), np.uint8)).tolist() == [0, 0, 0]


def test_it_takes_pictures_of_any_size(blobs: FinishedModel) -> None:
    embed = embedder(blobs.model, blobs.spec)
    assert embed is not None
    assert embed(np.full((720, 1280, 3), 99, np.uint8)).shape == (3,)


def test_memory_does_not_grow_with_the_pictures(blobs: FinishedModel) -> None:
    embed = embedder(blobs.model, blobs.spec)
    assert embed is not None
    embed(blob_picture(0))
    tracemalloc.start()
    for seed in range(30):
        embed(blob_picture(seed))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_head_has_features_in_front_of_it(variant: str) -> None:
    finished = finish(make_variant(variant), labels=["a", "b", "c"])
    assert feature_tensor(finished.model) is not None
    embed = embedder(finished.model, finished.spec)
    assert embed is not None
    assert embed(np.full((40, 60, 3), 99, np.uint8)).shape == (8,)


def backbone(*, attention: bool = False) -> onnx.ModelProto:
    """Two grids, 16 x 24 with 8 channels and 4 x 6 with 12, and an upsampled way back to the finer one."""
    net = Net("N")
    fine = net.backbone("input")
    coarse = net.add("Relu", net.conv(fine, 8, 12, stride=4), output="coarse")
    narrow = net.add("Relu", net.conv(coarse, 12, 5), output="narrow")
    if attention:
        weighed = net.conv(net.add("GlobalAveragePool", coarse), 12, 50)
        coarse = net.add("Mul", coarse, net.conv(weighed, 50, 12), output="weighed")
    back = net.add("Resize", net.conv(coarse, 12, 20), "", net.constant(np.array([1, 1, 4, 4], np.float32)))
    return net.model([net.conv(back, 20, 4), net.conv(narrow, 5, 4)])


def test_features_are_read_where_the_grid_is_coarsest_and_the_channels_are_most() -> None:
    assert feature_tensor(backbone()) == "coarse"


def test_squeeze_and_excitation_is_no_grid() -> None:
    assert feature_tensor(backbone(attention=True)) == "weighed"


def test_a_model_that_predicts_from_its_input_has_none(tmp_path: Path) -> None:
    net = Net("N")
    model = net.model([net.conv("input", 3, 4)])
    assert feature_tensor(model) is None
