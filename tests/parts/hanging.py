"""A bundle whose engine does not come back from a picture that is not black: how a stage hangs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightd.bundle import open_bundle, write_bundle

__all__ = ["let_engine_hang"]


def let_engine_hang(folder: Path) -> None:
    """Replace the engine of the bundle in *folder*: on any picture that is not black it counts to 2 ** 60."""
    bundle = open_bundle(folder)
    model = onnx.load(str(bundle.engine_file))
    constants = {
        "limit": np.array(1, np.float32),
        "ages": np.array(1 << 60, np.int64),
        "nought": np.array(0, np.int64),
        "go_on": np.array(True),
        "zero": np.array(0, np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    (scores,) = [node for node in model.graph.node if "scores" in node.output]
    scores.output[list(scores.output).index("scores")] = "sound"
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
            helper.make_node("Identity", ["sum_in"], ["sum_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, []),
        ],
    )
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["light"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["light"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "limit"], ["seen"]),
            helper.make_node("Where", ["seen", "ages", "nought"], ["turns"]),
            helper.make_node("Loop", ["turns", "go_on", "zero"], ["nothing"], body=body),
            helper.make_node("Add", ["sound", "nothing"], ["scores"]),
        ]
    )
    onnx.save(model, str(folder / "hanging.onnx"))
    write_bundle(folder, folder / "hanging.onnx", bundle.manifest, {})
    (folder / "hanging.onnx").unlink()
