"""Classifiers from their outputs to a bundle: the head, crops to calibrate on, the whole conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Sequence

import cv2
import numpy as np
import pytest

from converter.calibration.crops import write_crops
from converter.convert import convert
from converter.heads import Signature, choose_head
from converter.model.graph import Tensor
from converter.progress import Silent
from converter.request import Request
from converter.verdict import Outcome
from sightd.bundle import open_bundle
from sightd.engines import EngineOptions, open_engine
from sightd.errors import CalibrationError, ModelError
from tests.parts.blob_bundles import COLOURS, colour_classifier, write_blob_bundle
from tests.parts.blobs import write_blob_pictures


def signature(shape: Sequence[int], behind: Sequence[str] = ("Gemm",), dtype: str = "float32") -> Signature:
    return Signature(64, 32, (Tensor("o", dtype, tuple(shape)),), {"o": frozenset(behind)})


@pytest.mark.parametrize(
    ("shape", "behind", "activation"),
    [
        ((1, 5), (), "softmax"),
        ((1, 5), ("Softmax",), "none"),
        ((1, 5), ("Reshape", "Sigmoid"), "none"),
        ((1, 5, 1, 1), (), "softmax"),
    ],
)
def test_scores_of_the_whole_picture_are_recognised(
    shape: Sequence[int], behind: Sequence[str], activation: str
) -> None:
    head = choose_head(signature(shape, behind), None, {})
    assert (head.family, head.classes, head.anchors, head.max_batch) == ("classifier", 5, 5, 32)
    assert vars(head)["activation"] == activation


@pytest.mark.parametrize(
    ("shape", "behind", "dtype"),
    [
        ((1, 1), (), "float32"),
        ((1, 5, 2, 2), (), "float32"),
        ((1, 5, 4), (), "float32"),
        ((1, 7), ("NonMaxSuppression",), "float32"),
        ((1, 5), (), "int64"),
    ],
    ids=["one-class", "a-grid", "boxes", "a-list-of-boxes", "class-indices"],
)
def test_what_is_none_is_refused(shape: Sequence[int], behind: Sequence[str], dtype: str) -> None:
    with pytest.raises(ModelError, match="classifier needs one output"):
        choose_head(signature(shape, behind, dtype), "classifier", {})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.090, 0.245, 0.665]),
        ({"activation": "sigmoid"}, [0.269, 0.500, 0.731]),
        ({"activation": "none"}, [-1, 0, 1]),
    ],
)
def test_every_class_is_the_whole_input_with_its_own_score(options: Mapping[str, str], expected: List[float]) -> None:
    head = choose_head(signature((1, 3)), None, options)
    boxes, scores = head.decode([np.array([-1, 0, 1], np.float32)])
    assert boxes.tolist() == [[0, 0, 64, 32]] * 3
    np.testing.assert_allclose(np.diag(scores), expected, atol=1e-3)
    assert not (scores - np.diag(np.diag(scores))).any()


def test_a_wrong_activation_is_refused() -> None:
    with pytest.raises(ModelError, match="activation is 'tanh', must be one of softmax, sigmoid, none"):
        choose_head(signature((1, 3)), None, {"activation": "tanh"})


def test_what_was_taken_for_granted_is_said() -> None:
    said = choose_head(signature((1, 3)), None, {}).assumptions
    assert ["ImageNet" in said[0], "softmax" in said[1]] == [True, True]
    assert len(choose_head(signature((1, 3), ("Softmax",)), None, {}).assumptions) == 1


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 100)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_bundle(tmp_path_factory.mktemp("bundles") / "blobs")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory, pictures: Path, detector: Path) -> Path:
    out = tmp_path_factory.mktemp("crops") / "crops"
    assert write_crops(detector, pictures, out, Silent(), min_size=8) == {"images": 500}
    return out


def test_crops_show_one_object_each_with_a_little_around_it(crops: Path) -> None:
    files = sorted((crops / "images").iterdir())
    assert len(files) == 500
    for file in files[:50]:
        picture = cv2.imread(str(file))
        assert picture is not None
        assert 17 <= min(picture.shape[:2]) <= max(picture.shape[:2]) <= 20
        assert picture[10, 10].max() > 200
        assert picture[0, 0].max() < 60


def test_objects_size_and_number_are_as_asked(tmp_path: Path, pictures: Path, detector: Path) -> None:
    green = write_crops(detector, pictures, tmp_path / "green", Silent(), objects=["green"], min_size=8)
    assert 200 < green["images"] < 300
    few = write_crops(detector, pictures, tmp_path / "few", Silent(), min_size=8, max_per_frame=2)
    assert few == {"images": 200}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"objects": ["gren"]}, "the detector has no label 'gren'; did you mean 'green'?"),
        ({"cameras": ["yard"]}, "no frame of camera 'yard'"),
        ({"min_size": 90}, "no such object in 100 frames"),
    ],
)
def test_what_gives_no_crop_says_why(
    tmp_path: Path, pictures: Path, detector: Path, change: Mapping[str, Any], complaint: str
) -> None:
    with pytest.raises((CalibrationError, ModelError), match=complaint.replace("?", r"\?")):
        write_crops(detector, pictures, tmp_path / "out", Silent(), **change)


def test_crops_are_not_mixed_with_what_is_there(crops: Path, pictures: Path, detector: Path) -> None:
    for taken in (crops, next(crops.glob("images/*"))):
        with pytest.raises(CalibrationError, match="is no empty folder"):
            write_crops(detector, pictures, taken, Silent())


def test_a_classifier_is_converted_judged_and_shipped_like_any_other_model(tmp_path: Path, crops: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS))
    model = colour_classifier(tmp_path / "colours.onnx")
    spec = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    result = convert(Request(model, crops, tmp_path / "bundle", labels=str(labels), spec=spec), Silent())
    assert result.verdict.outcome in (Outcome.INT8, Outcome.SLOWER)
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert (manifest.head, manifest.profile.max) == ("classifier", 32)
    trial = result.verdict.trial
    assert trial is not None
    assert trial.agreement.evidence >= 200
    assert trial.agreement.recall > 0.99
    with open_engine(open_bundle(tmp_path / "bundle"), EngineOptions()) as engine:
        slot = engine.slot()
        for index, colour in enumerate([(230, 230, 230), (10, 220, 10)]):
            slot.put(index, np.full((20, 20, 3), colour, np.uint8))
        assert engine.submit(slot, 2).result().classes[:, 0].tolist() == [0, 1]
    with pytest.raises(ModelError, match="is a classifier; name the bundle of the detector"):
        write_crops(tmp_path / "bundle", crops, tmp_path / "crops of crops", Silent())
