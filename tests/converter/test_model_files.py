"""What a file is, by its content alone; files of other frameworks are told what to become."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Dict

import pytest

from converter.model.model_files import ModelFormat, format_of, pickled_class
from sightd.errors import ModelError
from tests.parts.models import yolox


def zipped(path: Path, files: Dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"yard/data.pkl": b"", "yard/constants.pkl": b"", "yard/code/x.py": b""}, ModelFormat.TORCHSCRIPT),
        ({"yard/data.pkl": b"", "yard/version": b"3"}, ModelFormat.WEIGHTS),
        ({"yard/archive_format": b"pt2", "yard/models/model.json": b"{}"}, ModelFormat.PROGRAM),
        ({"serialized_exported_program.json": b"{}", "version": b"1"}, ModelFormat.PROGRAM),
    ],
)
def test_archives_of_pytorch_are_told_apart_whatever_their_name(
    tmp_path: Path, files: Dict[str, bytes], expected: ModelFormat
) -> None:
    assert format_of(zipped(tmp_path / "model.onnx", files)) is expected


def test_onnx_and_old_weights_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(yolox().SerializeToString())
    (tmp_path / "b.onnx").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    (tmp_path / "c.onnx").write_bytes(b"junk")
    assert format_of(tmp_path / "a.pt") is ModelFormat.ONNX
    assert format_of(tmp_path / "b.onnx") is ModelFormat.WEIGHTS
    assert format_of(tmp_path / "c.onnx") is ModelFormat.UNKNOWN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n", "tf2onnx.convert --keras"),
        (b"\x1c\0\0\0TFL3....", "tf2onnx.convert --tflite"),
        (b'<?xml version="1.0"?>', "OpenVINO"),
        (b"7767517\n75 83\n", "ncnn"),
        (b'\x40\0\0\0\0\0\0\0{"weight":', r"safetensors.*state_dict\(\)"),
        (b"PK\x03\x04 and no more", "damaged archive"),
    ],
)
def test_files_of_others_say_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.onnx: .*{message}"):
        format_of(path)


def test_a_saved_model_folder_and_a_foreign_archive_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match="--saved-model"):
        format_of(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"none of PyTorch's \(it holds config\.json, model\.weights\.h5\)"):
        format_of(zipped(tmp_path / "model.keras", {"config.json": b"", "model.weights.h5": b""}))


@pytest.mark.parametrize("name", ["missing.pt", ""])
def test_what_can_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        format_of(tmp_path / name)


class Network:
    """A model as careless people save it."""


def test_a_class_in_a_pickle_is_named_without_unpickling(tmp_path: Path) -> None:
    whole = pickle.dumps({"model": Network(), "epoch": 3}, protocol=2)
    plain = pickle.dumps(OrderedDict(a={1, 2}, b=bytearray(b"x")), protocol=2)
    assert pickled_class(zipped(tmp_path / "a.pt", {"a/data.pkl": whole})) == f"{Network.__module__}.Network"
    assert pickled_class(zipped(tmp_path / "b.pt", {"b/data.pkl": plain})) is None
    assert pickled_class(zipped(tmp_path / "c.pt", {"c/data.pkl": whole[:20]})) is None
    (tmp_path / "d.pt").write_bytes(whole)
    assert pickled_class(tmp_path / "d.pt") is None
