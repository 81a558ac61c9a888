"""Runs an ONNX model in ONNX Runtime on this machine's CPU, for checks and as the reference."""

from __future__ import annotations

from typing import Any, List, Union

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sightd.engines.onnxruntime import FORBIDDEN_OPTIMIZERS
from sightd.errors import ModelError

__all__ = ["Session"]

_FATAL = 4  # what fails is raised; ONNX Runtime would print it as well


class Session:
    """A model with one input, ready to run."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Load *model*.

        :raises ModelError: ONNX Runtime refuses it.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=FORBIDDEN_OPTIMIZERS,
            )
        except Exception as error:  # onnxruntime's own classes share no documented base
            raise ModelError(f"ONNX Runtime {onnxruntime.__version__} can't load the model: {error}") from error
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[Union[np.float32, np.uint8]]) -> List[NDArray[Any]]:
        """The graph's outputs, in its order, for one input.

        :raises ModelError: the model failed on it.
        """
        try:
            outputs: List[NDArray[Any]] = self._session.run(None, {self._input: batch})
        except Exception as error:  # as above
            raise ModelError(f"the model fails in ONNX Runtime on an input of {batch.shape}: {error}") from error
        return outputs
