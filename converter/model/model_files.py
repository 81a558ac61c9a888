"""What a model file is, told by its content: names lie, and `.pt` alone is used for three different things."""

from __future__ import annotations

import pickletools
import zipfile
from enum import Enum
from pathlib import Path
from typing import List, Optional

from sightd.errors import ModelError

__all__ = ["ModelFormat", "format_of", "pickled_class"]


class ModelFormat(Enum):
    """The forms that a model may be given in."""

    ONNX = "an ONNX model"
    #: torch.jit.save's archive: code and weights.
    TORCHSCRIPT = "a TorchScript archive"
    #: torch.export.save's archive, `.pt2`: a graph and weights.
    PROGRAM = "a program of torch.export"
    #: What torch.save wrote: a state dict, we hope.
    WEIGHTS = "PyTorch weights"
    #: None of these by its first bytes; whoever reads it knows what is wrong with it.
    UNKNOWN = "of an unknown format"


_ONNX_FIRST = b"\x08"  # the field ir_version, which every exporter writes first
_PICKLE_FIRST = b"\x80"
_TO_ONNX = "convert it to ONNX where it was made"
_SAFETENSORS = (
    "a safetensors file, weights alone: load them into your model and give what "
    "torch.save(model.state_dict(), 'weights.pth') writes, with --factory"
)
#: How files of others begin, from which byte on, what they are and what to do.
_FOREIGN = (
    (b"\x89HDF", 0, f"a Keras model (HDF5): {_TO_ONNX}: python -m tf2onnx.convert --keras FILE --output model.onnx"),
    (b"TFL3", 4, f"a TensorFlow Lite model: {_TO_ONNX}: python -m tf2onnx.convert --tflite FILE --output model.onnx"),
    (b"<?xml", 0, "an XML file, OpenVINO's perhaps: give the ONNX file that it was made from"),
    (b"7767517", 0, "an ncnn model: give the ONNX file that it was made from"),
    (b'{"', 8, _SAFETENSORS),
)
_SAVED_MODEL = (
    f"a TensorFlow SavedModel: {_TO_ONNX}: "
    "python -m tf2onnx.convert --saved-model FOLDER --opset 17 --output model.onnx"
)
#: Modules whose names a plain state dict holds too.
_PLAIN = ("__builtin__", "_codecs", "builtins", "collections", "numpy", "torch")
_MAX_PICKLE_BYTES = 64 << 20


def format_of(path: Path) -> ModelFormat:
    """The format of the file at *path*; nothing in it is loaded or run.

    :raises ModelError: it can't be read, or it is known and none of ours.
    """
    try:
        if (path / "saved_model.pb").exists():
            raise ModelError(f"{path}: {_SAVED_MODEL}")
        with path.open("rb") as file:
            start = file.read(16)
        if start.startswith(b"PK\x03\x04"):
            return _zipped(path)
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror}); check the path and its permissions") from error
    for magic, place, told in _FOREIGN:
        if start[place:].startswith(magic):
            raise ModelError(f"{path}: {told}")
    if start.startswith(_PICKLE_FIRST):
        return ModelFormat.WEIGHTS  # of a torch.save before 1.6
    return ModelFormat.ONNX if start.startswith(_ONNX_FIRST) else ModelFormat.UNKNOWN


def pickled_class(path: Path) -> Optional[str]:
    """The first class in a torch.save file that is no tensor's, "ultralytics.nn.tasks.DetectionModel" for instance.

    Read without unpickling. None where there is none, or where it can't be told.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                found = list(pickletools.genops(file.read(_MAX_PICKLE_BYTES)))
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError):
        return None
    names = (str(argument).replace(" ", ".") for operation, argument, _ in found if operation.name == "GLOBAL")
    return next((name for name in names if name.startswith("torch.nn.modules") or not _is_plain(name)), None)


def _is_plain(name: str) -> bool:
    return name.partition(".")[0] in _PLAIN


def _zipped(path: Path) -> ModelFormat:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ModelError(f"{path}: a damaged archive ({error}); copy it again") from error
    files = _without_root(names)
    if "archive_format" in files or "serialized_exported_program.json" in names:
        return ModelFormat.PROGRAM
    if "constants.pkl" in files:
        return ModelFormat.TORCHSCRIPT
    if "data.pkl" in files:
        return ModelFormat.WEIGHTS
    raise ModelError(
        f"{path}: an archive, but none of PyTorch's (it holds {', '.join(names[:3]) or 'nothing'}): "
        "give the model as ONNX, TorchScript, a program of torch.export, or PyTorch weights"
    )


def _without_root(names: List[str]) -> List[str]:
    """PyTorch's archives keep everything in one folder, named after the file."""
    return [name.partition("/")[2] for name in names]
