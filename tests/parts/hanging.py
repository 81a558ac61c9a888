"""Bundles whose engine goes wrong on a picture that is not black, as all are with which it is tried before."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightd.bundle import open_bundle, write_bundle

__all__ = ["let_engine_find_unknown_classes", "let_engine_hang"]


def let_engine_hang(folder: Path) -> None:
    """Replace the engine of the bundle in *folder*: on any picture that is not black it counts to 2 ** 60."""
    constants = {
        "ages": np.array(1 << 60, np.int64),
        "nought": np.array(0, np.int64),
        "go_on": np.array(True),
        "zero": np.array(0, np.float32),
    }
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
    nodes = [
        helper.make_node("Where", ["seen", "ages", "nought"], ["turns"]),
        helper.make_node("Loop", ["turns", "go_on", "zero"], ["nothing"], body=body),
        helper.make_node("Add", ["sound", "nothing"], ["scores"]),
    ]
    _spoil(folder, "scores", constants, nodes)


def let_engine_find_unknown_classes(folder: Path) -> None:
    """The same: what it finds is of class 99 and more."""
    constants = {"unknown": np.array(99, np.int32), "known": np.array(0, np.int32)}
    nodes = [
        helper.make_node("Where", ["seen", "unknown", "known"], ["more"]),
        helper.make_node("Add", ["sound", "more"], ["classes"]),
    ]
    _spoil(folder, "classes", constants, nodes)


def _spoil(folder: Path, output: str, constants: Dict[str, NDArray[Any]], nodes: List[onnx.NodeProto]) -> None:
    """Make *output* by *nodes* out of "sound", what it was, and "seen", whether the picture is not black."""
    bundle = open_bundle(folder)
    model = onnx.load(str(bundle.engine_file))
    constants = {"limit": np.array(1, np.float32), **constants}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    (maker,) = [node for node in model.graph.node if output in node.output]
    maker.output[list(maker.output).index(output)] = "sound"
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["light"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["light"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "limit"], ["seen"]),
            *nodes,
        ]
    )
    onnx.save(model, str(folder / "spoilt.onnx"))
    write_bundle(folder, folder / "spoilt.onnx", bundle.manifest, {})
    (folder / "spoilt.onnx").unlink()
