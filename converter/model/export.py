"""From PyTorch to an ONNX file that computes the same, at any batch that the model takes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, Optional, Tuple

import onnx

from sightd.bundle import sha256_of
from sightd.errors import ModelError

from .batch import agrees
from .exporters import Wanted, check_dynamo, scripted, write_by_dynamo, write_by_scripting, write_by_tracing
from .graph import load_onnx, opset_of, set_metadata
from .model_files import ModelFormat, format_of
from .presets import MOST_PIXELS
from .torch_archives import TorchModel, open_program, open_torchscript
from .torch_run import Outputs, expected_of, flattened
from .torch_weights import check_only_tensors, module_with_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["EXPORTERS", "ExportRecord", "export"]

#: By name, the default first. It is always named to torch, whose own default changed with 2.9: TensorRT 8.6 and 9.0
#: reject the graphs that dynamo makes.
EXPORTERS = ("torchscript", "dynamo")
_TRACED_BATCH = 2  # at 1 the tracer takes the batch for a constant
_COMPARED_BATCH = 4  # beside 1
_OPSETS = range(13, 18)
_SCRIPTED = "torchscript, scripted"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportRecord:
    """The ONNX file that was written, and what the manifest says about it."""

    onnx: Path
    opset: int
    #: "torch 2.13.0 torchscript"; "torchscript, scripted" where control flow was kept.
    exporter: str
    weights_sha256: str
    #: What people must know, a sentence each; logged as warnings.
    notes: Tuple[str, ...]


def export(
    path: Path,
    factory: str = "",
    *,
    size: Optional[Tuple[int, int]] = None,
    opset: int = 13,
    exporter: str = EXPORTERS[0],
    script: bool = False,
    out: Path,
) -> ExportRecord:
    """Export what PyTorch saved at *path* to *out*.

    :param path: TorchScript, a program of torch.export, or weights. The first two are code, which is run.
    :param factory: "module:function" that makes the module for weights; its code is run. "" for the others.
    :param size: width and height in pixels; None where the file says them.
    :param exporter: one of EXPORTERS.
    :param script: keep control flow with torch.jit.script; it is tried anyway where tracing has frozen some.
    :raises ModelError: the file can't be used, or no ONNX file can be made that computes what PyTorch does.
    """
    model = _opened(path, factory, size, exporter, opset)
    import torch

    flat = flattened(model.module)
    images = _images(model.size, size, path)
    expected = expected_of(flat, images)
    names = [f"output{index}" for index in range(len(expected[1]))]
    any_batch = len(expected) > 1
    traced = images[-_TRACED_BATCH if any_batch else -1 :]  # not those that are compared alone
    wanted = Wanted(out, opset, traced, names, any_batch)
    how = _write_one_that_agrees(
        _attempts(model, flat, wanted, exporter, script), lambda: _differing(out, images, expected)
    )
    made = _with_metadata(out, model)
    froze = f"tracing froze control flow of {path.name}, whose results then differed: exported by torch.jit.script"
    notes = (*model.notes, *([froze] if how == _SCRIPTED and not script else []))
    for note in notes:
        _log.warning("%s", note)
    _log.info("exported %s: equals PyTorch at batch %s", out, " and ".join(map(str, expected)))
    return ExportRecord(out, opset_of(made), f"torch {torch.__version__} {how}", sha256_of(path), notes)


def _opened(path: Path, factory: str, size: Optional[Tuple[int, int]], exporter: str, opset: int) -> TorchModel:
    found = format_of(path)
    if found in (ModelFormat.WEIGHTS, ModelFormat.UNKNOWN):
        check_only_tensors(path)
        if not factory:
            raise ModelError(
                f"{path}: PyTorch weights don't say what they are the weights of: give the function that makes the "
                "model by --factory MODULE:FUNCTION, or export the model to ONNX or TorchScript where it was trained"
            )
        _check_size(size, path)
    elif factory:
        raise ModelError(f"{path}: {found.value}, which needs no --factory: leave it out")
    try:
        import torch  # noqa: F401  # before anything else is complained of that needs it
    except ImportError as error:
        raise ModelError("exporting from PyTorch needs torch: pip install 'sightd[export]'") from error
    if opset not in _OPSETS:
        raise ModelError(
            f"opset {opset} was asked for, must be {_OPSETS[0]} to {_OPSETS[-1]} (TensorRT 8.5 reads no later)"
        )
    if exporter == "dynamo":
        if found is ModelFormat.TORCHSCRIPT:
            raise ModelError(f"{path}: TorchScript can't be exported by dynamo: leave --exporter out")
        check_dynamo()
    if found is ModelFormat.TORCHSCRIPT:
        return open_torchscript(path)
    if found is not ModelFormat.PROGRAM:
        return TorchModel(module_with_weights(path, factory).eval())
    program = open_program(path)
    if size not in (None, program.size):
        fixed = "x".join(map(str, program.size or ()))
        raise ModelError(f"{path}: the program's input is fixed at {fixed}: leave --size out")
    return program


def _attempts(
    model: TorchModel, flat: nn.Module, wanted: Wanted, exporter: str, script: bool
) -> Iterator[Tuple[str, Callable[[], None]]]:
    """Ways to write the file, each with its name; the next one is for when a file differs from PyTorch."""
    if exporter == "dynamo":
        yield "dynamo", lambda: write_by_dynamo(flat, wanted)
    elif model.is_script:
        yield "torchscript", lambda: write_by_scripting(flat, wanted)
    else:
        if not script:
            yield "torchscript", lambda: write_by_tracing(flat, wanted)
        yield _SCRIPTED, lambda: write_by_scripting(flattened(scripted(model.module)), wanted)


def _write_one_that_agrees(
    attempts: Iterator[Tuple[str, Callable[[], None]]], differing: Callable[[], Optional[int]]
) -> str:
    """The name of the first attempt whose file computes what PyTorch does.

    :param differing: the batch at which the file does not; None where it does.
    """
    told = ""
    for name, write in attempts:
        try:
            write()
        except ModelError as error:
            raise (ModelError(f"{told}; nor is scripting a way: {error}") if told else error) from error
        batch = differing()
        if batch is None:
            return name
        told = (
            f"the exported ONNX model differs from PyTorch at batch {batch} ({name}): its forward depends on values or "
            "on the batch it was traced with (Python ifs, int() of a shape); change that, or export it yourself"
        )
    raise ModelError(told)


def _differing(out: Path, images: Tensor, expected: Mapping[int, Outputs]) -> Optional[int]:
    """The first batch at which the file differs from what is *expected* of it; it is removed then."""
    made = load_onnx(out)
    for batch, outputs in expected.items():
        if not agrees(made, images[:batch].numpy(), outputs):
            out.unlink()
            return batch
    return None


def _images(known: Optional[Tuple[int, int]], size: Optional[Tuple[int, int]], path: Path) -> Tensor:
    """Pictures to compare with, [4, 3, H, W] of 0..1: of 0..255 scores may saturate, and TopK among equals is luck."""
    import torch

    width, height = _check_size(size or known, path)
    generator = torch.Generator().manual_seed(0)
    return torch.rand((_COMPARED_BATCH, 3, height, width), generator=generator)


def _check_size(size: Optional[Tuple[int, int]], path: Path) -> Tuple[int, int]:
    if size is None:
        raise ModelError(f"{path}: does not say the size of its input: give it with --size WIDTHxHEIGHT")
    if not all(0 < side <= MOST_PIXELS for side in size):
        raise ModelError(f"{path}: no picture is {size[0]} x {size[1]} pixels: give the input's size with --size")
    return size


def _with_metadata(out: Path, model: TorchModel) -> onnx.ModelProto:
    """The file's model, what is known of it written into it."""
    made = load_onnx(out)
    for key, value in model.metadata.items():
        set_metadata(made, key, value)
    if model.metadata:
        out.write_bytes(made.SerializeToString())
    return made
