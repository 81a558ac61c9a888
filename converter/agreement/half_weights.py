"""The noise floor: the float model with its weights rounded to half precision, judged like any candidate.

It computes in float32: ONNX Runtime's CPU has no half-precision kernels for most operators. What rounding the
weights alone changes is the least that any other engine will differ by.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["with_half_weights"]


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of *model*, each float32 weight tensor rounded to the nearest float16 values; they stay float32."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    limit = float(np.finfo(np.float16).max)
    for weights in rounded.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.ndim > 1:
            halved = np.clip(values, -limit, limit).astype(np.float16).astype(np.float32)
            weights.CopyFrom(numpy_helper.from_array(halved, weights.name))
    return rounded
