"""torch.onnx's two exporters, each called by name: what writes an ONNX file of a module."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Sequence

from sightd.errors import ModelError

from .batch import BATCH
from .torch_weights import first_lines

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Wanted", "check_dynamo", "scripted", "write_by_dynamo", "write_by_scripting", "write_by_tracing"]

_DYNAMO_OPSET = 18
_DYNAMO_EXTRA = "pip install 'sightd[dynamo]'"


@dataclass(frozen=True)
class Wanted:
    """The file that is to be written."""

    out: Path
    #: Of what torchscript writes.
    opset: int
    #: Pictures to trace with, [B, 3, H, W].
    images: Tensor
    #: One for each tensor that the module returns.
    outputs: Sequence[str]
    #: Whether the batch is to be symbolic.
    any_batch: bool


def write_by_tracing(module: nn.Module, wanted: Wanted) -> None:
    """Run *module* once and write what it did; Python's control flow is frozen as it went.

    :raises ModelError: torch can't.
    """
    import torch

    with _explained(), _quiet():
        torch.onnx.export(module, (wanted.images,), str(wanted.out), **_legacy(wanted))


def write_by_scripting(module: nn.Module, wanted: Wanted) -> None:
    """The same for a *module* that calls TorchScript: its control flow becomes If and Loop.

    :raises ModelError: torch can't.
    """
    import torch

    with _explained(), _quiet():
        # Traced here, for the exporter's own tracer does not know modules that are TorchScript.
        whole = torch.jit.trace(module, wanted.images, check_trace=False)  # type: ignore[no-untyped-call]
        torch.onnx.export(whole, (wanted.images,), str(wanted.out), **_legacy(wanted))


def write_by_dynamo(module: nn.Module, wanted: Wanted) -> None:
    """torch.export's graph, translated by onnxscript, which has no opset before 18: finishing brings it down.

    :raises ModelError: torch can't.
    """
    import torch

    shapes = {"images": {0: torch.export.Dim(BATCH)}} if wanted.any_batch else None
    with _explained(), _quiet():
        torch.onnx.export(
            module,
            (wanted.images,),
            str(wanted.out),
            dynamo=True,
            opset_version=_DYNAMO_OPSET,
            input_names=["input"],
            output_names=list(wanted.outputs),
            external_data=False,
            verbose=False,
            dynamic_shapes=shapes,
        )


def scripted(module: nn.Module) -> nn.Module:
    """*module* compiled to TorchScript.

    :raises ModelError: its Python is more than TorchScript knows.
    """
    import torch

    with _quiet():
        try:
            compiled: nn.Module = torch.jit.script(module)
        except Exception as error:  # the compiler's errors share no base
            raise ModelError(f"torch.jit.script can't compile the model: {first_lines(error)}") from error
    return compiled


def check_dynamo() -> None:
    """Whether dynamo can be used here.

    :raises ModelError: says what to install.
    """
    import torch

    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        raise ModelError(f"torch {torch.__version__} can't export by dynamo: {_DYNAMO_EXTRA} brings 2.6 or later")
    if importlib.util.find_spec("onnxscript") is None:
        raise ModelError(f"--exporter dynamo needs onnxscript: {_DYNAMO_EXTRA}, or leave --exporter out")


def _legacy(wanted: Wanted) -> Dict[str, Any]:
    """Arguments for the exporter that goes by TorchScript."""
    import torch

    named = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    axes = {"dynamic_axes": {name: {0: BATCH} for name in ("input", *wanted.outputs)}} if wanted.any_batch else {}
    names = {"input_names": ["input"], "output_names": list(wanted.outputs)}
    return {"opset_version": wanted.opset, **names, **axes, **named}


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tracing runs the user's forward, and torch's own errors share no base
        raise ModelError(f"torch can't export the model to ONNX: {first_lines(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of exporters that we name on purpose; what goes wrong is found by comparing."""
    import torch

    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
