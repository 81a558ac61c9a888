from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Dict

import cv2
import pytest

from converter.agreement.ground_truth import read_ground_truth, read_labelled_image
from sightd.errors import CalibrationError
from tests.parts.blobs import blob_picture

CONTENT: Dict[str, Any] = {
    "images": [{"id": 7, "file_name": "b.png"}, {"id": 3, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "Green"}, {"id": 90, "name": "white"}, {"id": 5, "name": "unicorn"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40]},
        {"image_id": 7, "category_id": 90, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        {"image_id": 7, "category_id": 5, "bbox": [0, 0, 5, 5]},
    ],
}
LABELS = ["white", "green"]


def written(folder: Path, content: Any = CONTENT, images: str = "") -> Path:
    (folder / images).mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / images / name), blob_picture(1))
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def test_categories_are_mapped_by_name_and_unknown_ones_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first, second = read_ground_truth(written(tmp_path), LABELS)
    assert (first.file.name, len(first.boxes)) == ("a.png", 0)
    assert second.boxes.tolist() == [[10, 20, 40, 60], [0, 0, 5, 5]]
    assert second.classes.tolist() == [1, 0]
    assert second.crowd.tolist() == [False, True]
    assert "unicorn" in caplog.text
    assert read_labelled_image(second).shape == (96, 96, 3)


@pytest.mark.parametrize("folder", ["", "images"])
def test_pictures_are_found_beside_the_annotations_or_in_images(tmp_path: Path, folder: str) -> None:
    content = {**CONTENT, "categories": CONTENT["categories"][:2], "annotations": []}
    assert len(read_ground_truth(written(tmp_path, content, folder), LABELS)) == 2


def test_a_picture_that_is_missing_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(CalibrationError, match=r"a\.png.*--truth-images"):
        read_ground_truth(written(tmp_path), LABELS, tmp_path / "elsewhere")


def test_no_category_in_common_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"Green.*is a class of the model.*person"):
        read_ground_truth(written(tmp_path), ["person", "car"])


@pytest.mark.parametrize("content", [[], {"images": []}, {**CONTENT, "images": [{"id": 7}]}, "text", 7])
def test_another_format_is_an_error(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CalibrationError, match="instances format"):
        read_ground_truth(written(tmp_path, content), LABELS)


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.json"):
        read_ground_truth(tmp_path / "none.json", LABELS)


def test_a_picture_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    labelled = read_ground_truth(written(tmp_path), LABELS)[0]
    labelled.file.write_bytes(b"junk")
    with pytest.raises(CalibrationError, match=r"a\.png"):
        read_labelled_image(labelled)
