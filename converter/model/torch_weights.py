"""A torch module from weights and the user's factory; weights are never unpickled as code."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional

from sightd.errors import ModelError

from .model_files import pickled_class

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["check_only_tensors", "first_lines", "module_with_weights"]

#: Where checkpoints keep their weights, the averaged ones (EMA) first: those are what their authors evaluate.
_STATE_KEYS = ("ema", "model", "state_dict", "net", "module")
_KEYS_SHOWN = 3
_MOST = 300  # characters of an error of torch's


def module_with_weights(weights: Path, factory: str) -> nn.Module:
    """The module that *factory* makes, with *weights* in it.

    :param weights: what torch.save wrote: a state dict, or a checkpoint that holds one.
    :param factory: "module:function"; the module is looked for in the working folder too. Its code is run.
    :raises ModelError: one of them can't be used, or they don't fit each other.
    """
    module = _make_module(factory)
    _load_state(module, _state_dict(_load_weights(weights), weights), factory)
    return module


def check_only_tensors(weights: Path) -> None:
    """Refuse a file that can be seen to hold a pickled model, before torch or a factory is asked for.

    :raises ModelError: names the class in it.
    """
    name = pickled_class(weights)
    if name is not None:
        raise ModelError(_more_than_tensors(weights, name))


def first_lines(error: BaseException) -> str:
    """What torch says of *error*, without the pages that may follow and, from TorchScript, come first."""
    text = str(error).strip()
    if "TorchScript interpreter" in text[:_MOST]:
        found = re.search(r"^\w+: .*", text, re.MULTILINE)
        text = found[0] if found else text
    lines = " ".join(line.strip() for line in text.splitlines()[:3])
    return (lines if len(lines) <= _MOST else f"{lines[:_MOST]} ...") or type(error).__name__


def _more_than_tensors(weights: Path, name: Optional[str]) -> str:
    seen = f" (an object of {name})" if name else ""
    advice = (
        f"Export it with its own package: yolo export model={weights.name} format=onnx"
        if (name or "").startswith("ultralytics.")
        else "Where you trust it, load it in your training project and save only torch.save(model.state_dict(), ...), "
        "or export it there to ONNX or TorchScript"
    )
    return f"{weights}: holds more than tensors{seen}, and loading that would run code from the file: refused. {advice}"


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
        raise ModelError(_more_than_tensors(weights, pickled_class(weights))) from error
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
        reason = first_lines(error)
        raise ModelError(f"the weights don't fit {factory!r}, of another size perhaps: {reason}") from error
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
