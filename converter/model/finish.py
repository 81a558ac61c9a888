"""Finishes a detector's graph: uint8 pictures of any batch in, the K best anchors of each out (DESIGN §4)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.errors import ModelError
from sightd.types import InputSpec

from ..agreement.reference import normalised
from ..heads import Head, Signature, choose_head
from .batch import agrees, run_singly, set_batch, symbolic_batch
from .ends import add_input, add_outputs
from .graph import Tensor, drop_unused_weights, normalise
from .labels import resolve_labels
from .presets import input_size, resolve_spec
from .tail import head_nodes, operators_behind
from .ultralytics import check_metadata

__all__ = ["FinishedModel", "finish", "head_nodes"]

_SAMPLES = 4
_FIXED_BATCH = (
    "the batch can't be made symbolic (a batch of 4 is not 4 times a batch of 1): every picture is inferred alone, "
    "which costs throughput; export the model with a dynamic batch to avoid it"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedModel:
    """A graph that every engine is built from, and what the manifest says about it."""

    #: Input "images" uint8 [N, H, W, 3] BGR; outputs boxes [N, K, 4] float32 (xyxy, input pixels),
    #: scores [N, K] float32 descending, classes [N, K] int32.
    model: onnx.ModelProto
    spec: InputSpec
    head: Head
    labels: List[str]
    #: K.
    candidates: int
    #: 1 where the batch could not be made symbolic.
    max_batch: int
    #: What people must know: assumptions without evidence, a batch that is fixed. A sentence each, logged as warnings.
    notes: Tuple[str, ...]


def finish(
    model: onnx.ModelProto,
    *,
    head: Optional[str] = None,
    head_options: Optional[Mapping[str, str]] = None,
    spec_overrides: Optional[Mapping[str, object]] = None,
    labels: Optional[Sequence[str]] = None,
    candidates: int = 300,
) -> FinishedModel:
    """Finish *model*, which stays as it is.

    :param head: the head's family; None recognises it by the outputs.
    :param spec_overrides: fields of InputSpec that win over the model's metadata and the family's preset.
    :param labels: class names; None takes those in the model's metadata.
    :param candidates: anchors to keep a picture, fewer where the model has fewer.
    :raises ModelError: unknown layout, unknown input, wrong labels, or a graph that can't be brought there.
    """
    overrides = spec_overrides or {}
    width, height, layout = input_size(model, overrides)
    check_metadata(model, width, height)
    sized = _with_size(normalise(model), width, height, layout)
    truth = run_singly(model, _blank(width, height, layout))
    chosen = choose_head(_signature(sized, truth, width, height), head, head_options or {})
    spec = resolve_spec(model, chosen.preset, overrides)
    names = resolve_labels(model, chosen.classes, labels)
    batched, notes = _batched(model, sized, spec)
    kept = min(candidates, chosen.anchors)
    add_input(batched, spec)
    add_outputs(batched, chosen, kept)
    drop_unused_weights(batched.graph)
    onnx.checker.check_model(batched)
    notes = [*chosen.assumptions, *notes]
    for note in notes:
        _log.warning("%s", note)
    fixed = batched.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    return FinishedModel(batched, spec, chosen, names, kept, fixed or chosen.max_batch, tuple(notes))


def _signature(model: onnx.ModelProto, outputs: Sequence[NDArray[np.generic]], width: int, height: int) -> Signature:
    """What a head may know; *outputs* are those of a run, for what a graph declares may be missing or wrong."""
    tensors = [
        Tensor(value.name, output.dtype.name, output.shape) for value, output in zip(model.graph.output, outputs)
    ]
    values = {value.name: output for value, output in zip(model.graph.output, outputs)}
    return Signature(width, height, tuple(tensors), operators_behind(model), values)


def _blank(width: int, height: int, layout: str) -> NDArray[np.float32]:
    return np.zeros((1, 3, height, width) if layout == "nchw" else (1, height, width, 3), np.float32)


def _with_size(model: onnx.ModelProto, width: int, height: int, layout: str) -> onnx.ModelProto:
    """*model*, changed in place: height and width of its input fixed."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    rows, columns = (2, 3) if layout == "nchw" else (1, 2)
    dims[rows].dim_value, dims[columns].dim_value = height, width
    return model


def _batched(model: onnx.ModelProto, sized: onnx.ModelProto, spec: InputSpec) -> Tuple[onnx.ModelProto, List[str]]:
    """*sized* with a symbolic batch, else with batch 1 and a note; both proven to compute what *model* does."""
    samples = np.stack([normalised(pixels, spec) for pixels in _distinct_pictures(spec)])
    expected = run_singly(model, samples)
    symbolic = symbolic_batch(sized, samples, expected)
    if symbolic is not None:
        return symbolic, []
    single = set_batch(sized, 1)
    if not agrees(single, samples[:1], [output[:1] for output in expected]):
        raise ModelError(
            "the graph computes something else at batch 1, or after its conversion to opset 13..17: "
            "export the model again with a dynamic batch and opset 17"
        )
    return single, [_FIXED_BATCH]


def _distinct_pictures(spec: InputSpec) -> NDArray[np.uint8]:
    """[4, H, W, 3]: coarse random blocks, so that even a deep net's outputs differ from one to the next."""
    coarse = np.random.default_rng(0).integers(0, 256, (_SAMPLES, 8, 8, 3), np.uint8)
    rows, columns = np.arange(spec.height) * 8 // spec.height, np.arange(spec.width) * 8 // spec.width
    blocks: NDArray[np.uint8] = coarse[:, rows][:, :, columns]
    return blocks
