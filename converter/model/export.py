"""From PyTorch weights and the user's model factory to an ONNX file that computes the same, at any batch."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import pickle
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.bundle import sha256_of
from sightd.errors import ModelError

from .batch import agrees
from .graph import load_onnx

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ExportRecord", "export"]

#: Where checkpoints keep their weights, the averaged ones (EMA) first: those are what their authors evaluate.
_STATE_KEYS = ("ema", "model", "state_dict", "net", "module")
_TRACED_BATCH = 2  # at 1 the tracer takes the batch for a constant
_COMPARED_BATCHES = (1, 4)
_OPSETS = range(13, 18)
_KEYS_SHOWN = 3
#: Said of the exporter that we name on purpose.
_CHOSEN_EXPORTER_WARNINGS = ("You are using the legacy TorchScript-based ONNX export", "The feature will be removed")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportRecord:
    """The ONNX file that was written, and what the manifest says about it."""

    onnx: Path
    opset: int
    #: "torch 2.13.0 torchscript".
    exporter: str
    weights_sha256: str


def export(weights: Path, factory: str, *, size: Tuple[int, int], opset: int = 13, out: Path) -> ExportRecord:
    """Export the model that *factory* makes, with *weights* in it, to *out*.

    :param weights: what torch.save wrote: a state dict, or a checkpoint that holds one; never unpickled as code.
    :param factory: "module:function"; the module is looked for in the working folder too. Its code is run.
    :param size: width and height of the input in pixels; the model takes [N, 3, height, width] float32.
    :raises ModelError: factory and weights don't fit, or the ONNX file does not compute what PyTorch does.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError("exporting PyTorch weights needs torch: pip install 'sightd[export]'") from error
    if opset not in _OPSETS:
        raise ModelError(
            f"opset {opset} was asked for, must be {_OPSETS[0]} to {_OPSETS[-1]} (TensorRT 8.5 reads no later)"
        )
    module = _make_module(factory)
    _load_state(module, _state_dict(_load_weights(weights), weights), factory)
    flat = _flat(module.eval())
    width, height = size
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand((max(_COMPARED_BATCHES), 3, height, width), generator=generator)
    _trace(flat, samples[:_TRACED_BATCH], opset, out)
    _compare(flat, samples, out)
    return ExportRecord(out, opset, f"torch {torch.__version__} torchscript", sha256_of(weights))


def _make_module(factory: str) -> nn.Module:
    from torch import nn

    name, _, function_name = factory.partition(":")
    if not name or not function_name:
        raise ModelError(f"factory {factory!r} must be 'module:function', for instance my_project.model:build")
    try:
        with _importing_from_here():
            function = getattr(importlib.import_module(name), function_name)
            module = function()
    except ModuleNotFoundError as error:
        raise ModelError(
            f"factory {factory!r}: no module named {error.name!r}: run from the folder that holds it, or install it"
        ) from error
    except Exception as error:  # the user's own code runs here
        raise ModelError(f"factory {factory!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"factory {factory!r} returned {type(module).__name__}, must return a torch.nn.Module")
    return module


@contextlib.contextmanager
def _importing_from_here() -> Iterator[None]:
    """The working folder on the import path, as `python -m` has it and a console script has not."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _load_weights(weights: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # what matters is if it loads
            return torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{weights}: can't be read ({error.strerror}); check the path and its permissions") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{weights}: holds more than tensors, and loading that would run code from the file: refused. "
            "Where you trust it, load it in your training project and save only torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:  # damaged pickles fail anywhere in the unpickler
        raise ModelError(f"{weights}: not a file of torch.save, or a damaged one ({error}); copy it again") from error


def _state_dict(checkpoint: Any, weights: Path) -> Dict[str, Tensor]:
    """The weights by name, wherever the checkpoint keeps them, without DataParallel's prefix."""
    state = _find_state(checkpoint)
    if state is None:
        keys = ", ".join(map(str, list(checkpoint)[:_KEYS_SHOWN])) if isinstance(checkpoint, dict) else "none"
        raise ModelError(
            f"{weights}: no state dict found, neither bare nor under {', '.join(_STATE_KEYS)} (first keys: {keys}): "
            "save torch.save(model.state_dict(), ...)"
        )
    if all(key.startswith("module.") for key in state):
        return {key[len("module.") :]: value for key, value in state.items()}
    return state


def _find_state(checkpoint: Any) -> Optional[Dict[str, Tensor]]:
    from torch import Tensor

    if not isinstance(checkpoint, dict) or not checkpoint:
        return None
    if all(isinstance(value, Tensor) for value in checkpoint.values()):
        return checkpoint
    found = (_find_state(checkpoint.get(key)) for key in _STATE_KEYS)
    return next((state for state in found if state is not None), None)


def _load_state(module: nn.Module, state: Dict[str, Tensor], factory: str) -> None:
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a tensor of another shape; the message names them all
        raise ModelError(
            f"the weights don't fit {factory!r}, of another size perhaps: {_first_lines(error)}"
        ) from error
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:_KEYS_SHOWN])}{' ...' if len(keys) > _KEYS_SHOWN else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected))
        if keys
    ]
    if problems:
        raise ModelError(
            f"the weights don't fit the model that {factory!r} makes: keys {' and '.join(problems)}; "
            "give the factory of the model that was trained"
        )


def _flat(module: nn.Module) -> nn.Module:
    """*module* with its tensors as a plain tuple, however its forward nests them."""
    from torch import nn

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
            return tuple(_leaves(self.module(images)))

    return Flat().eval()


def _leaves(value: Any) -> Iterator[Tensor]:
    from torch import Tensor

    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def _trace(module: nn.Module, images: Tensor, opset: int, out: Path) -> None:
    import torch

    outputs = [f"output{index}" for index in range(len(_run(module, images)))]
    if not outputs:
        raise ModelError("the model returns no tensors: its forward must return the predictions when in eval mode")
    # From torch 2.9 the default is another exporter, whose graphs TensorRT 8 does not read.
    named = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    arguments: Dict[str, Any] = {
        "opset_version": opset,
        "input_names": ["input"],
        "output_names": outputs,
        "dynamic_axes": {name: {0: "N"} for name in ["input", *outputs]},
        **named,
    }
    with warnings.catch_warnings(), torch.no_grad():
        for message in _CHOSEN_EXPORTER_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        # What tracing freezes is found by comparing.
        tracer_warning = torch.jit.TracerWarning  # type: ignore[attr-defined]  # documented, yet not in its __all__
        warnings.filterwarnings("ignore", category=tracer_warning)
        try:
            torch.onnx.export(module, (images,), str(out), **arguments)
        except Exception as error:  # tracing runs the user's forward, and torch's own errors share no base
            raise ModelError(f"torch can't export the model to ONNX: {_first_lines(error)}") from error


def _compare(module: nn.Module, samples: Tensor, out: Path) -> None:
    """Refuse a file that computes something else than PyTorch, at batch 1 or at a larger one."""
    model = load_onnx(out)
    for batch in _COMPARED_BATCHES:
        expected = _run(module, samples[:batch])
        if not agrees(model, samples[:batch].numpy(), expected):
            out.unlink()
            raise ModelError(
                f"the exported ONNX model differs from PyTorch at batch {batch}: its forward depends on values or on "
                "the batch it was traced with (Python ifs, int() of a shape); change that, or export it yourself"
            )
    _log.info("exported %s: equals PyTorch at batch %s", out, " and ".join(map(str, _COMPARED_BATCHES)))


def _run(module: nn.Module, images: Tensor) -> List[NDArray[np.generic]]:
    import torch

    try:
        with torch.no_grad():
            return [output.numpy() for output in module(images)]
    except Exception as error:  # the user's own code runs here
        raise ModelError(f"the model fails on an input of {tuple(images.shape)}: {_first_lines(error)}") from error


def _first_lines(error: BaseException) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines[:3]) or type(error).__name__
