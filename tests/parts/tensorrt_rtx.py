"""Builds an ONNX graph with TensorRT-RTX, which needs no GPU for it, and tells what the engine's layers compute in."""

from __future__ import annotations

import re
from typing import Any, Dict, List

import onnx
import pytest

__all__ = ["convolution_inputs"]

#: The batches of the profile: least, best, most.
_BATCHES = (1, 4, 8)
#: A layer as the engine inspector words it; the builder logs the same, while an inspector needs a GPU for its engine.
_CONVOLUTION = re.compile(r"Name: (\S+), LayerType: correlation, Inputs: \[ \{[^}]*Datatype: (\w+)")


def convolution_inputs(model: onnx.ModelProto) -> Dict[str, str]:
    """Each convolution of the engine for compute capability 8.6 -> what it reads ("Int8", "Float"); skips without it.

    The input is uint8, the profile 1, 4 and 8 pictures.
    """
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX: pip install -r tests/requirements.txt")
    messages: List[str] = []
    errors: List[str] = []

    class Listener(trt.ILogger):  # type: ignore[name-defined,misc]
        def log(self, severity: Any, message: str) -> None:
            (errors if severity <= trt.Logger.ERROR else messages).append(message)

    logger = Listener()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString()), errors
    entry = network.get_input(0)
    assert entry.dtype == trt.uint8
    plan = builder.build_serialized_network(network, _config(trt, builder, entry))
    assert plan is not None, errors
    return dict(_CONVOLUTION.findall("\n".join(messages)))


def _config(trt: Any, builder: Any, entry: Any) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape(entry.name, *((batch, *tuple(entry.shape)[1:]) for batch in _BATCHES))
    config.add_optimization_profile(profile)
    return config
