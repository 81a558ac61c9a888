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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "coco.yaml",
            "path: ../datasets\ntrain: images/train\nnc: 2\nnames:\n  0: dog\n  1: hot dog\ndownload: |\n  x = 1\n",
        ),
        ("data.yml", "names: ['dog', 'hot dog']\nroboflow:\n  version: 010\n"),
        ("names.json", '["dog", "hot dog"]'),
        ("names.json", '{"1": "hot dog", "0": "dog"}'),
        ("config.json", '{"model_type": "detr", "id2label": {"0": "dog", "1": "hot dog"}}'),
        ("obj.names", "dog\nhot dog\n"),
    ],
)
def test_the_files_that_come_with_models_are_read(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    assert read_labels(str(path)) == ["dog", "hot dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.yaml", "nc: 3\nnames: [dog, cat]", r"data\.yaml: nc is 3, but there are 2 names"),
        ("data.yaml", "train: images", "has no 'names'"),
        ("data.yaml", "names: {1: dog, 2: cat}", "has no 'names', a list or numbered from 0"),
        ("data.yaml", "names: dog", "has no 'names'"),
        ("data.yaml", "names:\n- dog\n- no\n", r"data\.yaml:3: names\.1: .*quote"),
        ("data.yaml", "names: [dog", r"data\.yaml:1: not valid YAML"),
        ("data.yaml", "a: &a [x]\nb: [*a, *a]\n", "has no 'names'"),
        ("names.json", "[", "no JSON"),
        ("names.json", "[" * 100_000, "no JSON"),
        ("names.json", '{"1": "dog"}', r'must be a list of names.*"0": "person"'),
        ("names.json", '[["dog"]]', "must be a list of names"),
    ],
)
def test_files_that_hold_no_names_are_refused_with_what_is_missing(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(ModelError, match=message):
        read_labels(str(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"x" * (2 << 20)])
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, content: Optional[bytes]) -> None:
    path = tmp_path / ("coco81" if content else "dog," * 100)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"neither one of coco80, coco90, coco91 nor|can't be read as text|no list of"):
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


@pytest.mark.parametrize(
    ("given", "classes", "message"),
    [
        (["x"], 2, "1 class names for a model of 2 classes: leave --labels out, the model names them itself"),
        (["x"], None, "1 class names for a model of 2 classes: leave --labels out"),
        (["x"], 3, "1 class names for a model of 3 classes: give one a class"),
        (None, 3, "'names' has 2 class names, but the model's outputs have 3 classes: .* --head"),
    ],
)
def test_names_that_contradict_the_models_own_are_refused(
    given: Optional[List[str]], classes: Optional[int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_labels(yolox(metadata={"names": "{0: 'a', 1: 'b'}"}), classes, given)


@pytest.mark.parametrize("suffix", ["yaml", "json"])
@pytest.mark.parametrize(
    "content",
    [
        "[" * 5000,
        "{" * 5000,
        '{"names": ' + "[" * 99,
        "names: &a [*a]",
        '{"names": [1e999]}',
        '{"0": 1e999}',
        "names: 2:2",
    ],
)
def test_a_hostile_file_is_refused_with_a_sentence(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"names.{suffix}"
    path.write_text(content)
    with pytest.raises(ModelError) as raised:
        read_labels(str(path))
    assert str(raised.value).startswith(str(path))
    assert len(str(raised.value)) < 500
