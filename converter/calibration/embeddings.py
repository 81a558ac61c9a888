"""What a picture means to the model: features of its backbone, averaged over the picture."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, Optional, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from sightd.resize import resize_into
from sightd.types import Image, InputSpec

from ..model.graph import OUR_PREFIX
from ..model.session import Session
from ..model.tail import head_nodes

__all__ = ["Embed", "embedder", "feature_tensor"]

#: A picture as a point: [D] float32 of length 1; pictures that the model sees alike lie close together.
Embed = Callable[[Image], NDArray[np.float32]]

_POOLED = f"{OUR_PREFIX}pooled"


def embedder(model: onnx.ModelProto, spec: InputSpec) -> Optional[Embed]:
    """Runs the *finished* float *model* up to its deepest features, a picture at a time; None where it has none.

    What the function returns is not finite for a picture on which the model itself fails.
    """
    tensor = feature_tensor(model)
    if tensor is None:
        return None
    session = Session(_pooling(model, tensor))
    pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)

    def embed(image: Image) -> NDArray[np.float32]:
        resize_into(pixels[0], image, spec)
        pooled = session.run(pixels)[0].astype(np.float64).ravel()
        point: NDArray[Any] = pooled / max(float(np.linalg.norm(pooled)), 1e-12)
        return point.astype(np.float32)

    return embed


def feature_tensor(model: onnx.ModelProto) -> Optional[str]:
    """Where to read features: of all that convolutions read, the coarsest grid, of those the most channels.

    Only in front of the head, whose tensors are about boxes; the 1 x 1 grids of squeeze-and-excitation are none.
    """
    found = [(-height * width, channels, index) for index, (channels, height, width) in _grids(model)]
    return model.graph.node[max(found)[2]].input[0] if found else None


def _grids(model: onnx.ModelProto) -> Iterator[Tuple[int, Tuple[int, int, int]]]:
    """Index of a convolution that reads features -> their (channels, height, width)."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {value.name: _shape(value) for value in inferred.graph.value_info}
    tail = head_nodes(model)
    features = {tensor for node in model.graph.node if node.name not in tail for tensor in node.output}
    for index, node in enumerate(model.graph.node):
        shape = shapes.get(node.input[0], []) if node.op_type == "Conv" and node.input[0] in features else []
        if len(shape) == 4 and all(shape[1:]) and shape[2] * shape[3] > 1:
            yield index, (shape[1], shape[2], shape[3])


def _shape(value: onnx.ValueInfoProto) -> List[int]:
    """0 stands for a dimension that is not known."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _pooling(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """*model* with nothing but the mean of *tensor* over its grid as output: what lies behind is not computed."""
    pooling = onnx.ModelProto()
    pooling.CopyFrom(model)
    pooling.graph.node.append(helper.make_node("GlobalAveragePool", [tensor], [_POOLED], name=_POOLED))
    del pooling.graph.output[:]
    pooling.graph.output.append(onnx.ValueInfoProto(name=_POOLED))
    return pooling
