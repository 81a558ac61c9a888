"""The model as it is given becomes one file that the bundle can keep."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from converter.given import read_given
from converter.request import Request
from sightd.bundle import sha256_of
from sightd.errors import ModelError
from tests.parts.blobs import blob_detector


def request_of(model: Path) -> Request:
    return Request(model, model.parent, model.parent / "bundle")


def test_an_onnx_file_is_kept_as_it_is(tmp_path: Path) -> None:
    file = blob_detector(tmp_path / "blobs.onnx")
    given = read_given(request_of(file), tmp_path)
    assert given.file == file
    assert (given.record.name, given.record.onnx_sha256) == ("blobs.onnx", sha256_of(file))


def test_weights_in_another_file_come_into_the_one_that_is_kept(tmp_path: Path) -> None:
    whole = blob_detector(tmp_path / "blobs.onnx")
    (tmp_path / "scratch").mkdir()
    file = tmp_path / "outside.onnx"
    onnx.save(onnx.load(str(whole)), str(file), save_as_external_data=True, location="weights.bin", size_threshold=0)
    given = read_given(request_of(file), tmp_path / "scratch")
    (tmp_path / "weights.bin").unlink()
    assert given.record.name == "outside.onnx"
    assert given.record.onnx_sha256 == sha256_of(given.file)
    kept, before = (onnx.load(str(path)).graph.initializer for path in (given.file, whole))
    assert {one.name: one.raw_data for one in kept} == {one.name: one.raw_data for one in before}


def test_pytorch_weights_need_a_size(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x80\x02}q\x00.")
    request = Request(tmp_path / "w.pth", tmp_path, tmp_path / "bundle", factory="module:function")
    with pytest.raises(ModelError, match="--size"):
        read_given(request, tmp_path)
