"""Makes a model's batch symbolic, and proves on distinct pictures that a batch of four is four times a batch of one."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from sightd.errors import ModelError

from .graft import Graft
from .graph import OUR_PREFIX, constants, model_input
from .session import Session

__all__ = ["BATCH", "agrees", "alike", "run_singly", "set_batch", "symbolic_batch"]

#: The name of the batch dimension.
BATCH = "N"

# At another batch size convolutions may sum in another order, which shows in the last bits: of a value itself, and
# of the greatest value that went into it.
_OF_VALUE, _OF_GREATEST = 1e-3, 1e-5
# And two classes that score alike may change places.
_SAME_INTEGERS = 0.99

_Outputs = List[NDArray[np.generic]]


def symbolic_batch(
    model: onnx.ModelProto, samples: NDArray[np.float32], expected: Sequence[NDArray[np.generic]]
) -> Optional[onnx.ModelProto]:
    """A copy of *model* that takes any batch, or None where that fails.

    :param model: with one input; all but its batch dimension fixed.
    :param samples: distinct inputs, [n, ...] float32.
    :param expected: the outputs for *samples*, one by one (see :func:`run_singly`).
    """
    declared = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    attempts = [_freed(model)] if declared else [set_batch(model, BATCH), _freed(model)]
    return next((attempt for attempt in attempts if agrees(attempt, samples, expected)), None)


def agrees(model: onnx.ModelProto, samples: NDArray[np.float32], expected: Sequence[NDArray[np.generic]]) -> bool:
    """Whether *model* gives the *expected* outputs for all *samples* at once."""
    try:
        outputs = Session(model).run(samples)
    except ModelError:
        return False
    return alike(outputs, expected)


def alike(outputs: Sequence[NDArray[np.generic]], expected: Sequence[NDArray[np.generic]]) -> bool:
    """Whether *outputs* are the *expected* ones but for what another order of sums changes."""
    return len(outputs) == len(expected) and all(map(_close, outputs, expected))


def run_singly(model: onnx.ModelProto, samples: NDArray[np.float32]) -> _Outputs:
    """The outputs of an untouched model for each sample alone, stacked: [n, ...] each.

    :raises ModelError: the model does not run, or an output's first dimension is not the batch.
    """
    session = Session(model)
    # A model of a fixed larger batch gets the sample as often as it wants.
    batch = model_input(model).shape[0] or 1
    runs = [session.run(np.repeat(sample[None], batch, axis=0)) for sample in samples]
    for value, output in zip(model.graph.output, runs[0]):
        if output.ndim == 0 or len(output) != batch:
            raise ModelError(f"output {value.name!r} is {list(output.shape)} at batch {batch}: no output a picture")
    return [np.concatenate([output[:1] for output in outputs]) for outputs in zip(*runs)]


def set_batch(model: onnx.ModelProto, batch: object) -> onnx.ModelProto:
    """A copy whose input and outputs declare *batch*, a number or a name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in (*copy.graph.input, *copy.graph.output):
        if value.type.tensor_type.shape.dim:
            dim = value.type.tensor_type.shape.dim[0]
            if isinstance(batch, int):
                dim.dim_value = batch
            else:
                dim.dim_param = str(batch)
    return copy


def _freed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with a symbolic batch and no constant that holds the batch it was traced with."""
    traced = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    shapes = _shapes(set_batch(model, traced))
    freed = set_batch(model, BATCH)
    values = constants(freed.graph)
    for index in reversed(range(len(freed.graph.node))):
        node = freed.graph.node[index]
        if node.op_type == "Reshape" and node.input[1] in values:
            target = values[node.input[1]].tolist()
            shape = _free_shape(target, traced, shapes.get(node.output[0], []))
            if shape != target:
                name = f"{OUR_PREFIX}batch/{node.name}"
                freed.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
                node.input[1] = name
        elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in values:
            _free_resize(freed.graph, index, values[node.input[3]])
    return freed


def _free_shape(target: List[int], traced: int, result: List[int]) -> List[int]:
    """A Reshape's target with the batch left open: memory is row-major, so the batch is part of the first dimension."""
    if -1 not in target and target[0] != 0:
        return [-1, *target[1:]]
    if target[0] != traced:
        return target
    # Where shape inference does not get so far, the first dimension of what is reshaped is the best guess.
    return [-1, *result[1:]] if len(result) == len(target) else [0, *target[1:]]


def _free_resize(graph: onnx.GraphProto, index: int, sizes: NDArray[np.generic]) -> None:
    """Let the Resize at *index* take its first size from its input."""
    resize = graph.node[index]
    graft = Graft(f"batch/{resize.name}")
    zero = graft.constant(np.array([0], np.int64))
    batch = graft.add("Gather", graft.add("Shape", resize.input[0]), zero, axis=0)
    resize.input[3] = graft.add("Concat", batch, graft.constant(sizes[1:].astype(np.int64)), axis=0)
    graft.insert(graph, index)


def _shapes(model: onnx.ModelProto) -> Dict[str, List[int]]:
    """The shape of every tensor that shape inference knows in full."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.output)
    return {value.name: shape for value in values for shape in _full_shape(value)}


def _full_shape(value: onnx.ValueInfoProto) -> Iterator[List[int]]:
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if all(shape):
        yield shape


def _close(output: NDArray[np.generic], truth: NDArray[np.generic]) -> bool:
    if output.shape != truth.shape:
        return False
    if np.issubdtype(truth.dtype, np.integer):
        return bool(np.mean(output == truth) >= _SAME_INTEGERS)
    greatest = np.abs(truth[np.isfinite(truth)]).max(initial=100)
    return np.allclose(output, truth, rtol=_OF_VALUE, atol=_OF_GREATEST * float(greatest), equal_nan=True)
