"""The tiny real detector of tests.parts.blobs as a torch module, and as its authors might save it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tests.parts.blobs import SIZE, blob_detector

__all__ = [
    "SIZE",
    "Blobs",
    "Busy",
    "Counting",
    "FixedView",
    "OnGpu",
    "Pythonic",
    "blobs",
    "saved_program",
    "saved_script",
]


class Blobs(nn.Module):
    """[N, 3, 96, 96] RGB 0..255 to a heatmap [N, 2, 24, 24] and distances to the sides [N, 4, 24, 24]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 3, 3, stride, 1, bias=False) for stride in (1, 2, 2, 1, 1)),
        )
        self.heat, self.sides = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        features = self.stem(images)
        return self.heat(features).sigmoid(), self.sides(features).relu()


class FixedView(Blobs):
    """Whose author wrote a batch of 1 into it."""

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        heat, sides = super().forward(images)
        return heat.view(1, 2, 24, 24), sides.view(1, 4, 24, 24)


class Busy(Blobs):
    """Whose forward depends on values: too much brightness is halved, which no trace of dark pictures knows."""

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        features = self.stem(images)
        if float(features.mean()) > 1e4:
            features = features / 2
        return self.heat(features).sigmoid(), self.sides(features).relu()


class Counting(Blobs):
    """Of pictures 0..1; whose forward depends on the batch: two are treated otherwise than one or four."""

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        features = self.stem(images * 255.0)
        if len(images) == 2:
            features = features - features.mean()
        return self.heat(features).sigmoid(), self.sides(features).relu()


class Pythonic(Counting):
    """The same, in a way that only Python knows."""

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        chosen = {1: self._alike, 2: self._shifted}.get(len(images), self._alike)
        features = chosen(self.stem(images * 255.0))
        return self.heat(features).sigmoid(), self.sides(features).relu()

    def _alike(self, features: Tensor) -> Tensor:
        return features

    def _shifted(self, features: Tensor) -> Tensor:
        return features - features.mean()


class OnGpu(Blobs):
    """Traced on a GPU, whose name is then in the code."""

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        heat, sides = self.heat(images), self.sides(images)
        return heat, sides + torch.zeros([1], device=torch.device("cuda:0"))


def blobs(folder: Path, module: nn.Module) -> nn.Module:
    """*module*, a Blobs, with the weights that find the squares."""
    graph = onnx.load(str(blob_detector(folder / "weights.onnx"))).graph
    values = {weights.name: torch.from_numpy(np.array(numpy_helper.to_array(weights))) for weights in graph.initializer}
    state = {f"stem.{place}.weight": values[f"blur{place + 1}"] for place in range(5)}
    for name in ("heat", "sides"):
        state[f"{name}.weight"], state[f"{name}.bias"] = values[name], values[f"{name}_bias"]
    module.load_state_dict(state)
    return module.eval()


def saved_script(path: Path, module: nn.Module, batch: int = 1, **arguments: Any) -> Path:
    """*module* traced at *batch* and saved as TorchScript."""
    torch.jit.save(torch.jit.trace(module, torch.rand(batch, 3, SIZE, SIZE)), str(path), **arguments)
    return path


def saved_program(path: Path, module: nn.Module, batch: int, *, dynamic: bool) -> Path:
    """*module* as torch.export.save writes it."""
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(module, (torch.rand(batch, 3, SIZE, SIZE),), dynamic_shapes=shapes)
    torch.export.save(program, str(path))
    return path
