"""A TensorRT network: a graph parsed, and its layers held to the precision that was asked for."""

from __future__ import annotations

import re
from typing import AbstractSet, Any, Iterator, List, Tuple

from .tensorrt_order import Failed, Order, Problem

__all__ = ["Refusal", "create_network", "pin_layers"]

#: TensorRT 8.6 and later say which node a layer is of.
_METADATA = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


class Refusal(Exception):  # noqa: N818 (it carries a message to the converter, which raises the error)
    """The order can't be carried out; ``failed`` says why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


def create_network(trt: Any, builder: Any, logger: Any, content: bytes) -> Tuple[Any, Any]:
    """The network of an ONNX file's *content*, and the parser, which must live as long.

    :raises Refusal: with everything that the parser has against it.
    """
    flags = 0
    creation = trt.NetworkDefinitionCreationFlag
    if hasattr(creation, "EXPLICIT_BATCH") and not hasattr(creation, "STRONGLY_TYPED"):
        flags = 1 << int(creation.EXPLICIT_BATCH)  # deprecated and without effect where types can be strong
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        problems = [Problem(error.node(), error.desc()) for error in errors]
        raise Refusal(Failed("graph", "TensorRT's ONNX parser refuses the graph", problems=problems))
    return network, parser


def pin_layers(trt: Any, network: Any, order: Order) -> int:
    """Hold the layers of order.half_nodes and order.float_nodes to these types; the number of layers held."""
    kinds = {**dict.fromkeys(order.half_nodes, trt.float16), **dict.fromkeys(order.float_nodes, trt.float32)}
    owned = _layers_by_node([network.get_layer(index) for index in range(network.num_layers)], frozenset(order.nodes))
    return sum(_pin(trt, layer, kinds[node]) for node, layer in owned if node in kinds)


def _layers_by_node(layers: List[Any], nodes: AbstractSet[str]) -> Iterator[Tuple[str, Any]]:
    """Each layer with the node that it was parsed from.

    A node may need several: those before its own have names of the parser's making and count with the one that follows.
    """
    waiting: List[Any] = []
    for layer in layers:
        node = _node_of(layer, nodes)
        waiting.append(layer)
        if node:
            yield from ((node, one) for one in waiting)
            waiting = []


def _node_of(layer: Any, nodes: AbstractSet[str]) -> str:
    """The node that *layer* names, "" where it names none."""
    told = _METADATA.search(getattr(layer, "metadata", ""))
    if told and told[1] in nodes:
        return told[1]
    if layer.name in nodes:
        return str(layer.name)
    stem = re.sub(r"_\d+$", "", layer.name)  # the second layer of one node
    return stem if stem in nodes else ""


def _pin(trt: Any, layer: Any, kind: Any) -> bool:
    """Whether *layer* reads floating-point numbers, and so is held to *kind*."""
    if layer.type in (trt.LayerType.CONSTANT, trt.LayerType.SHAPE):
        return False
    inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    if not any(_is_floating(trt, tensor) for tensor in inputs):
        return False
    layer.precision = kind
    for index, tensor in enumerate(outputs):
        if _is_floating(trt, tensor):
            layer.set_output_type(index, kind)
    return True


def _is_floating(trt: Any, tensor: Any) -> bool:
    return tensor is not None and tensor.dtype in (trt.float32, trt.float16) and bool(tensor.is_execution_tensor)
