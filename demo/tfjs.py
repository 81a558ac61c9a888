"""Imports a TensorFlow.js graph model (model JSON + weights) as ONNX, without TensorFlow."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sightd.errors import ModelError

from .tfjs_ops import OPS, FeatureMap, OnnxGraph, TfNode, Value

__all__ = ["TfjsGraph", "import_graph", "read_graph"]

_OPSET = 13
_IR_VERSION = 8
_TO_NCHW = [0, 3, 1, 2]
_TO_NHWC = [0, 2, 3, 1]


@dataclass(frozen=True)
class TfjsGraph:
    """A graph model as its two files tell it: nodes by name, and the constants' values."""

    nodes: Dict[str, TfNode]
    #: float32 or int32, in TensorFlow's layout (HWIO convolution weights).
    weights: Dict[str, NDArray[Any]]


def import_graph(json_path: Path, weights_path: Path, heads: Mapping[str, str]) -> onnx.ModelProto:
    """The part of a TFJS graph model that computes *heads*, as float32 ONNX (opset 13).

    Input ``image`` and outputs are NHWC as in the original; in between everything is NCHW, ONNX's own layout, so
    that the only transpositions are at the edges.

    :param heads: name of a TensorFlow node -> name that this output gets.
    :raises ModelError: unreadable, or it holds an operation or a form of one that the importer doesn't know.
    """
    source = read_graph(json_path, weights_path)
    graph = OnnxGraph()
    values: Dict[str, Value] = dict(source.weights)
    for node in _needed_in_order(source, list(heads)):
        if node.op == "Placeholder":
            values[node.name] = _add_input(graph, node)
        else:
            values[node.name] = _convert(graph, node, [values[name] for name in node.inputs])
    for name, output in heads.items():
        _add_output(graph, values[name], output)
    return _finished(graph, json_path.stem)


def read_graph(json_path: Path, weights_path: Path) -> TfjsGraph:
    """Both files of a TFJS graph model.

    :raises ModelError: not such a model, or the weights file has not the size that the JSON says.
    """
    try:
        document = json.loads(json_path.read_text("utf-8"))
        nodes = {node["name"]: _node(node) for node in document["modelTopology"]["node"]}
        entries = [entry for group in document["weightsManifest"] for entry in group["weights"]]
        return TfjsGraph(nodes, _weights(entries, weights_path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{json_path}: not a readable TensorFlow.js graph model ({error!r})") from error


def _node(raw: Mapping[str, Any]) -> TfNode:
    inputs = [_producer(name) for name in raw.get("input", []) if not name.startswith("^")]
    return TfNode(
        raw["name"], raw["op"], inputs, {key: _attribute(value) for key, value in raw.get("attr", {}).items()}
    )


def _producer(name: str) -> str:
    return name.partition(":")[0]


def _attribute(raw: Mapping[str, Any]) -> Any:
    """A TensorFlow AttrValue in its JSON form as a plain value: bool, float, int, str, or a list of one of them."""
    kind, value = next(iter(raw.items()))
    if kind == "list":
        return [_attribute({item_kind: item}) for item_kind, items in value.items() for item in items]
    if kind == "i":
        return int(value)
    if kind == "s":
        return base64.b64decode(value).decode("utf-8")
    if kind == "shape":
        return [int(dim["size"]) for dim in value.get("dim", [])]
    return value


def _weights(entries: List[Mapping[str, Any]], data: bytes) -> Dict[str, NDArray[Any]]:
    weights: Dict[str, NDArray[Any]] = {}
    offset = 0
    for entry in entries:
        stored = np.dtype(entry.get("quantization", entry)["dtype"]).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(data, stored, count, offset).astype(entry["dtype"])
        weights[entry["name"]] = values.reshape(entry["shape"])
        offset += count * stored.itemsize
    if offset != len(data):
        raise ValueError(f"the weights file has {len(data)} bytes, the model describes {offset}")
    return weights


def _needed_in_order(source: TfjsGraph, heads: List[str]) -> List[TfNode]:
    """The nodes that *heads* depend on, constants left out, each after its inputs."""
    ordered: Dict[str, TfNode] = {}
    pending = list(heads)
    while pending:
        name = pending[-1]
        if name not in source.nodes:
            raise ModelError(
                f"the TensorFlow graph has no node {name!r}; is this the model that the importer was told of?"
            )
        node = source.nodes[name]
        missing = [other for other in node.inputs if other not in ordered and other not in source.weights]
        if missing and name not in ordered:
            pending.extend(missing)
            continue
        ordered.setdefault(name, node)
        pending.pop()
    return list(ordered.values())


def _convert(graph: OnnxGraph, node: TfNode, inputs: List[Value]) -> Value:
    if node.op not in OPS:
        raise ModelError(
            f"TensorFlow operation {node.op} ({node.name}) is not supported; supported: {', '.join(sorted(OPS))}"
        )
    return OPS[node.op](graph, node, inputs)


def _add_input(graph: OnnxGraph, node: TfNode) -> FeatureMap:
    batch, height, width, channels = node.attributes["shape"]
    graph.inputs.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, height, width, channels]))
    return FeatureMap(graph.add("Transpose", ["image"], perm=_TO_NCHW), batch, channels, height, width)


def _add_output(graph: OnnxGraph, value: Value, name: str) -> None:
    if not isinstance(value, FeatureMap):
        raise ModelError(f"output {name} of the TensorFlow graph is a constant")
    graph.nodes.append(helper.make_node("Transpose", [value.name], [name], perm=_TO_NHWC))
    shape = [value.batch, value.height, value.width, value.channels]
    graph.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _finished(graph: OnnxGraph, name: str) -> onnx.ModelProto:
    body = helper.make_graph(graph.nodes, name, graph.inputs, graph.outputs, graph.initializers)
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(body, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="sightd-demo")
    onnx.checker.check_model(model, full_check=True)
    return model
