"""Weights in files beside the model: read where they lie beside it, refused where a path leads elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converter.model.external_data import has_external_data
from converter.model.graph import load_onnx
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.models import HEIGHT, WIDTH, yolox

SAMPLE = np.random.default_rng(0).random((1, 3, HEIGHT, WIDTH), np.float32) * 255


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    path = tmp_path / "given" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(yolox(), str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path


def relocated(path: Path, location: str, **entries: str) -> Path:
    """The model with its first weight said to lie at *location*."""
    model = onnx.load(str(path), load_external_data=False)
    weights = model.graph.initializer[0]
    told = {**{entry.key: entry.value for entry in weights.external_data}, "location": location, **entries}
    del weights.external_data[:]
    for key, value in told.items():
        weights.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_both_files_are_one_model(two_files: Path) -> None:
    model = load_onnx(two_files)
    assert not has_external_data(model)
    np.testing.assert_array_equal(Session(model).run(SAMPLE)[0], Session(yolox()).run(SAMPLE)[0])


def test_weights_in_a_folder_below_are_read(two_files: Path) -> None:
    (two_files.parent / "below").mkdir()
    (two_files.parent / "below" / "w.bin").write_bytes(two_files.with_name("model.onnx.data").read_bytes())
    np.testing.assert_array_equal(
        Session(load_onnx(relocated(two_files, "below/w.bin"))).run(SAMPLE)[0], Session(yolox()).run(SAMPLE)[0]
    )


def test_a_missing_file_is_named_with_what_to_do(two_files: Path) -> None:
    two_files.with_name("model.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"its weights model\.onnx\.data are missing: copy that file beside it"):
        load_onnx(two_files)


def outside(path: Path) -> str:
    path.parents[1].joinpath("secret").write_bytes(path.with_name("model.onnx.data").read_bytes())
    return "../secret"


def absolute(path: Path) -> str:
    return str(path.with_name("model.onnx.data"))


def linked(path: Path) -> str:
    path.with_name("link").symlink_to(path.parent / outside(path))
    return "link"


def linked_folder(path: Path) -> str:
    outside(path)
    path.with_name("way").symlink_to(path.parents[1])
    return "way/secret"


def beside_by_name(path: Path) -> str:
    """A folder whose name begins like the model's own."""
    other = path.parents[1] / f"{path.parent.name}-other"
    other.mkdir()
    (other / "w").write_bytes(path.with_name("model.onnx.data").read_bytes())
    return f"../{other.name}/w"


@pytest.mark.parametrize("where", [outside, absolute, linked, linked_folder, beside_by_name, lambda path: ""])
def test_a_path_that_leaves_the_folder_is_refused(two_files: Path, where: Callable[[Path], str]) -> None:
    with pytest.raises(ModelError, match="outside the model's folder: refused"):
        load_onnx(relocated(two_files, where(two_files)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "99999999"}, "too short"),
        ({"length": "99999999"}, "too short"),
        ({"offset": "-8"}, "too short"),
        ({"offset": "x"}, "is no number"),
        ({"offset": "0", "length": "0"}, r"tells of \d+ bytes for .w\d+., needing"),  # 0 reads to the end
        ({"offset": "0", "length": "3000"}, "tells of 3000 bytes"),
    ],
)
def test_a_part_that_is_not_there_is_told(two_files: Path, entries: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ModelError, match=message):
        load_onnx(relocated(two_files, "model.onnx.data", **entries))


def test_a_link_to_itself_is_refused(two_files: Path) -> None:
    two_files.with_name("loop").symlink_to("loop")
    with pytest.raises(ModelError, match=r"link that leads nowhere|are missing"):
        load_onnx(relocated(two_files, "loop"))


def test_weights_that_are_too_large_together_are_refused_unread(two_files: Path) -> None:
    with two_files.with_name("huge").open("wb") as file:
        file.truncate(3 << 30)  # sparse: takes no room
    model = onnx.load(str(two_files), load_external_data=False)
    model.graph.initializer[0].dims[:] = [3 << 28]
    two_files.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="3072 MiB, of 2048 at most"):
        load_onnx(relocated(two_files, "huge", offset="0", length=str(3 << 30)))


def test_a_constant_node_may_have_its_value_elsewhere(two_files: Path) -> None:
    model = onnx.load(str(two_files), load_external_data=False)
    shape = next(weights for weights in model.graph.initializer if weights.data_type == onnx.TensorProto.INT64)
    node = onnx.helper.make_node("Constant", [], [shape.name], value=shape)
    model.graph.initializer.remove(shape)
    model.graph.node.insert(0, node)
    two_files.write_bytes(model.SerializeToString())
    read = load_onnx(two_files)
    assert numpy_helper.to_array(read.graph.node[0].attribute[0].t).size > 1
    relocated_node = onnx.load(str(two_files), load_external_data=False)
    for entry in relocated_node.graph.node[0].attribute[0].t.external_data:
        if entry.key == "location":
            entry.value = outside(two_files)
    two_files.write_bytes(relocated_node.SerializeToString())
    with pytest.raises(ModelError, match="refused"):
        load_onnx(two_files)
