"""A torch module from what torch.jit.save or torch.export.save wrote. Both are code: opening one runs it."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple

from sightd.bounded import decode_json
from sightd.errors import ModelError

from .torch_weights import first_lines

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchModel", "open_program", "open_torchscript"]

#: Where Ultralytics (and YOLOv5 before it) leave size and class names in a TorchScript archive.
_CONFIG = "extra/config.txt"
_MAX_CONFIG_BYTES = 1 << 20
_DYNAMIC = (
    'torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)), with images of a batch '
    "of 2 or more"
)


@dataclass(frozen=True)
class TorchModel:
    """A module on the CPU, in float32 and for inference: pictures [N, 3, H, W] in, tensors out."""

    module: nn.Module
    #: Whether it is TorchScript: its control flow stays as it is, whatever it is traced with.
    is_script: bool = False
    #: Width and height in pixels, where the file says them.
    size: Optional[Tuple[int, int]] = None
    #: For the ONNX file, as exporters to ONNX would have written it.
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: Tuple[str, ...] = ()


def open_torchscript(path: Path) -> TorchModel:
    """What torch.jit.save wrote, with what its exporter left beside it.

    :raises ModelError: damaged, or of a newer PyTorch.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is deprecated", category=DeprecationWarning)
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # torch's own errors share no base
        raise ModelError(
            f"{path}: this PyTorch ({torch.__version__}) can't load the TorchScript archive: {first_lines(error)}: "
            "copy it again, or install the PyTorch that saved it"
        ) from error
    for_inference = module.eval() if hasattr(module, "training") else module  # a frozen one has no modes left
    config, notes = _config(path), _half_notes(module)
    return TorchModel(for_inference.float(), True, _config_size(config), _told(config), notes)


def open_program(path: Path) -> TorchModel:
    """What torch.export.save wrote; its input fixes the size.

    :raises ModelError: damaged, of another PyTorch, with several inputs, or for a fixed batch of more than 1.
    """
    import torch

    try:
        with _only_tensors():
            program = torch.export.load(str(path))
            module = program.module()
    except Exception as error:  # as above
        raise ModelError(
            f"{path}: this PyTorch ({torch.__version__}) can't load the exported program: {first_lines(error)}: "
            "copy it again, or install the PyTorch that saved it"
        ) from error
    notes = _half_notes(module)
    return TorchModel(module.float(), size=_program_size(path, program), notes=notes)


@contextlib.contextmanager
def _only_tensors() -> Iterator[None]:
    """torch.load refuses pickled objects, even where torch.export.load would have it take them."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _half_notes(module: nn.Module) -> Tuple[str, ...]:
    import torch

    half = any(tensor.dtype == torch.float16 for tensor in module.state_dict().values())
    return ("the model's float16 weights were converted to float32, which INT8 is calibrated in",) if half else ()


def _program_size(path: Path, program: Any) -> Tuple[int, int]:
    """Width and height of the one input, which must be [batch, 3, height, width] of a batch that is open or 1."""
    named = set(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in named]
    if len(inputs) != 1:
        raise ModelError(
            f"{path}: a detector has one input, the picture; this program has {len(inputs)} "
            f"({', '.join(node.name for node in inputs)}): export a module that holds the others as constants"
        )
    shape: List[Optional[int]] = [dim if isinstance(dim, int) else None for dim in inputs[0].meta["val"].shape]
    told = f"{path}: the program's input {inputs[0].name!r} is {['?' if dim is None else dim for dim in shape]}"
    if len(shape) != 4 or shape[1] != 3:
        raise ModelError(f"{told}, must be [batch, 3, height, width]: export it again")
    if shape[0] not in (None, 1):
        raise ModelError(f"{told}, of a fixed batch: export it with a dynamic one: {_DYNAMIC}")
    height, width = shape[2], shape[3]
    if height is None or width is None:
        raise ModelError(f"{told}, of an open size: export it with height and width fixed and only the batch dynamic")
    return width, height


def _config(path: Path) -> Dict[str, Any]:
    """What the exporter left in the archive; {} where that is nothing that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.partition("/")[2] == _CONFIG)
            with archive.open(name) as file:
                config: Any = decode_json(file.read(_MAX_CONFIG_BYTES), Any)
    except (StopIteration, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _config_size(config: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
    """Ultralytics writes imgsz as [height, width], YOLOv5 shape as [1, 3, height, width]."""
    sides = config.get("imgsz") or config.get("shape")
    if not isinstance(sides, list) or len(sides) < 2 or not all(isinstance(side, int) for side in sides):
        return None
    return sides[-1], sides[-2]


def _told(config: Mapping[str, Any]) -> Dict[str, str]:
    """*config* as Ultralytics puts it into an ONNX file: Python's text of each value; class numbers are numbers."""
    names = config.get("names")
    if isinstance(names, dict) and all(key.isdecimal() for key in names):
        config = {**config, "names": {int(key): name for key, name in names.items()}}
    return {key: str(value) for key, value in config.items()}
