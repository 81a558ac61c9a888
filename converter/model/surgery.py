"""What cutting a graph takes: which tensors are read, and the nodes that lead to the outputs that are kept."""

from __future__ import annotations

from typing import Iterator, Mapping, Set

import onnx
from onnx import helper

__all__ = ["OUR_PREFIX", "all_nodes", "ancestors", "keep_outputs", "read_by", "reads"]

#: Every node and tensor that we add begins with this.
OUR_PREFIX = "sightd/"


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, bodies of If and Loop included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)


def read_by(graph: onnx.GraphProto) -> Set[str]:
    """The tensors that nodes read, bodies of If and Loop included."""
    return set().union(*(reads(node) for node in graph.node))


def ancestors(graph: onnx.GraphProto, tensors: Set[str]) -> Set[str]:
    """The outputs of all nodes that *tensors* are made by, near and far."""
    wanted, found = set(tensors), set()
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted |= reads(node)
            found.update(node.output)
    return found


def keep_outputs(model: onnx.ModelProto, kept: Mapping[str, str]) -> onnx.ModelProto:
    """A copy whose outputs are only *kept* (their name -> the tensor), without the nodes that these don't need.

    Their shapes are left to be inferred; they are float32, or int64 where the name ends in "classes".
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    needed = ancestors(graph, set(kept.values()))
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    for name, tensor in kept.items():
        if name != tensor:
            graph.node.append(helper.make_node("Identity", [tensor], [name], name=name))
        kind = onnx.TensorProto.INT64 if name.endswith("classes") else onnx.TensorProto.FLOAT
        graph.output.append(helper.make_tensor_value_info(name, kind, None))
    domains = {node.domain for node in nodes} | {""}
    imports = [entry for entry in copy.opset_import if entry.domain in domains or entry.domain == "ai.onnx"]
    del copy.opset_import[:]
    copy.opset_import.extend(imports)
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(copy)
    return inferred


def reads(node: onnx.NodeProto) -> Set[str]:
    """The tensors that *node* reads, those that its bodies take from outside included."""
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return set(node.input).union(*(read_by(body) for body in bodies)) - {""}
