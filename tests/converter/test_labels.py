"""Class names: as many as classes, from wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import pytest

from converter.model.labels import COCO80, read_labels, resolve_labels
from sightd.errors import ModelError
from tests.parts.models import yolox


def test_coco_has_its_80_names(assets: Path) -> None:
    names = (assets / "models" / "coco80.names").read_text("utf-8").split("\n")
    assert list(COCO80) == [name for name in names if name]


def test_a_presets_name_or_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("dog\n\n traffic light \nzoë", "utf-8")
    assert read_labels(str(path)) == ["dog", "traffic light", "zoë"]
    labels = read_labels("coco80")
    assert (len(labels), labels[0], labels[79]) == (80, "person", "toothbrush")


def test_cocos_own_numbers_count_what_has_no_category_too() -> None:
    """In COCO's annotations 1 is person, 13 stop sign, 62 chair, 90 toothbrush; 12 and nine others are none."""
    by_number, from_one = read_labels("coco91"), read_labels("coco90")
    assert (len(by_number), from_one) == (91, by_number[1:])
    assert (by_number[1], by_number[13], by_number[62], by_number[90]) == ("person", "stop sign", "chair", "toothbrush")
    assert (by_number[0], by_number[12]) == ("background", "unused-12")
    assert [name for name in by_number if name in COCO80] == list(COCO80)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"x" * (2 << 20)])
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, content: Optional[bytes]) -> None:
    path = tmp_path / "coco81"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"neither one of coco80, coco90, coco91 nor|no list of class names"):
        read_labels(str(path))


@pytest.mark.parametrize(
    ("names", "expected"),
    [("{0: 'a', 1: 'b'}", ["a", "b"]), ("['a', 'b']", ["a", "b"]), ("{1: 'b', 0: 'a'}", ["a", "b"])],
)
def test_metadata_is_read_as_ultralytics_writes_it(names: str, expected: List[str]) -> None:
    assert resolve_labels(yolox(metadata={"names": names}), 2, None) == expected


@pytest.mark.parametrize("names", ["{1: 'a', 2: 'b'}", "3", "__import__('os')", "[" * 50_000, "{0: 'a'"])
def test_damaged_metadata_is_refused(names: str) -> None:
    with pytest.raises(ModelError, match="--labels"):
        resolve_labels(yolox(metadata={"names": names}), 2, None)


def test_what_is_given_wins_over_the_metadata() -> None:
    assert resolve_labels(yolox(metadata={"names": "['a', 'b']"}), 2, ["x", "y"]) == ["x", "y"]


def test_any_number_will_do_where_the_classes_are_not_known() -> None:
    assert resolve_labels(yolox(), None, ["x"]) == ["x"]
