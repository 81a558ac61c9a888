"""A torch module as a function of pictures: its tensors as a flat list, one picture at a time or several."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, Iterator, List, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.errors import ModelError

from .batch import alike
from .torch_weights import first_lines

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Outputs", "expected_of", "flattened"]

Outputs = List[NDArray[np.generic]]


def flattened(module: nn.Module) -> nn.Module:
    """*module* with its tensors as a plain tuple, however its forward nests them; its mode is left as it is."""
    from torch import nn

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.training = False

        def train(self, mode: bool = True) -> Flat:
            return self  # an exported program refuses to change

        def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
            return tuple(_leaves(self.module(images)))

    return Flat()


def _leaves(value: object) -> Iterator[Tensor]:
    from torch import Tensor

    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def expected_of(module: nn.Module, images: Tensor) -> Dict[int, Outputs]:
    """What *module* returns for the first of *images*, by 1, and for all, by their number.

    The latter are missing where they are not what it returns for each alone: a batch of 1 was frozen in it, or an
    output has no place for each picture. What follows may free the one and understand the other.
    """
    singly = [_run(module, image[None]) for image in images]
    if not singly[0]:
        raise ModelError("the model returns no tensors: its forward must return the predictions when in eval mode")
    if any(output.ndim == 0 or len(output) != 1 for outputs in singly for output in outputs):
        return {1: singly[0]}
    stacked = [np.concatenate(outputs) for outputs in zip(*singly)]
    try:
        together = alike(_run(module, images), stacked)
    except ModelError:
        together = False
    return {1: singly[0], **({len(images): stacked} if together else {})}


def _run(module: nn.Module, images: Tensor) -> Outputs:
    import torch

    try:
        # Optimising TorchScript for a handful of runs was seen to take minutes.
        with torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # documented
            return [output.numpy() for output in module(images)]
    except Exception as error:  # the user's own code runs here
        reason = first_lines(error)
        hint = (
            "; move it to the CPU before it is traced and saved"
            if re.search("cuda|nvidia", reason, re.IGNORECASE)
            else ""
        )
        raise ModelError(f"the model fails on an input of {tuple(images.shape)}: {reason}{hint}") from error
