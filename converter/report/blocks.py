"""A graph as people think of it: operators that belong together are one block, and plumbing is left out."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Set, Tuple

import onnx

from ..model.graph import OUR_PREFIX
from .block_titles import gate_name, joined, operator_title

__all__ = ["KINDS", "Block", "Edge", "blocks"]

#: Kind of a block -> the operators that make one.
KINDS: Mapping[str, Sequence[str]] = {
    "convolution": ("Conv", "ConvTranspose", "Gemm", "MatMul"),
    "pooling": ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean"),
    "joining": ("Concat", "Add", "Mul", "Sub", "Div"),
    "moving": (
        "Expand",
        "Flatten",
        "Gather",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ),
    "other": (),
    "sightd": (),
}
_WEIGHING = frozenset(KINDS["convolution"])
_ACTIVATIONS = frozenset(
    ["Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid", "Softplus", "Tanh"]
)
_ELEMENTWISE = _ACTIVATIONS | {"Add", "Cast", "Div", "Erf", "Exp", "Mul", "Neg", "Pow", "Sqrt", "Sub"}
_MOVING = frozenset(["Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"])
_LONGEST_WAY = 3
#: The parts that finishing adds beside the head family's decoding.
_OURS = {"input": "prepare pixels", "best": "keep the best"}


@dataclass(frozen=True)
class Block:
    """One box of the picture."""

    title: str
    #: A key of KINDS.
    kind: str
    #: "int8", "fp16", "fp32"; "" where nothing is computed.
    precision: str
    #: "16×208×208", without the batch; "" where it is not known.
    shape: str
    #: Names of the nodes in it.
    nodes: Tuple[str, ...]


@dataclass(frozen=True)
class Edge:
    """A tensor from one block, by its place among the blocks, to another."""

    source: int
    target: int


def blocks(model: onnx.ModelProto, precisions: Mapping[str, str]) -> Tuple[List[Block], List[Edge]]:
    """The blocks of *model* in the order of computing, its inputs first and its outputs last, and what joins them.

    :param precisions: node name -> "int8", "fp16" or "fp32".
    """
    return _Folding(model, precisions).folded()


class _Folding:
    """Walks the nodes once; each goes into a new block or the one before it."""

    def __init__(self, model: onnx.ModelProto, precisions: Mapping[str, str]) -> None:
        self._graph, self._precisions = model.graph, precisions
        self._shapes = _shapes(model)
        self._static = _static_tensors(model.graph)
        self._nodes = [node for node in model.graph.node if not self._static.issuperset(node.output)]
        self._readers: Dict[str, List[onnx.NodeProto]] = {}
        for node in self._nodes:
            for tensor in dict.fromkeys(self._flowing(node)):
                self._readers.setdefault(tensor, []).append(node)
        self._outputs = {value.name for value in model.graph.output}
        self._weights = {weights.name: list(weights.dims) for weights in model.graph.initializer}
        #: The nodes of each block, and what a block of a finished graph's own part is called.
        self._members: List[List[onnx.NodeProto]] = []
        self._titles: List[str] = []
        self._block_of: Dict[str, int] = {}

    def folded(self) -> Tuple[List[Block], List[Edge]]:
        inputs = [value.name for value in self._graph.input if value.name not in self._static]
        made = [Block(name, "other", "", self._shapes.get(name, ""), ()) for name in inputs]
        source = {name: place for place, name in enumerate(inputs)}
        for node in self._nodes:
            if node.name not in self._block_of:
                self._open(node)
        for title, members in zip(self._titles, self._members):
            source.update((tensor, len(made)) for node in members for tensor in node.output)
            made.append(self._block(title, members))
        for value in self._graph.output:
            made.append(Block(value.name, "other", "", self._shapes.get(value.name, ""), ()))
        edges = [
            Edge(source[tensor], len(inputs) + self._block_of[node.name])
            for node in self._nodes
            for tensor in self._flowing(node)
            if tensor in source
        ]
        first = len(made) - len(self._graph.output)
        edges += [
            Edge(source[value.name], first + place)
            for place, value in enumerate(self._graph.output)
            if value.name in source
        ]
        return _in_order(made, [edge for edge in dict.fromkeys(edges) if edge.source != edge.target])

    def _open(self, node: onnx.NodeProto) -> None:
        """A new block with *node*, and with what only follows it."""
        part = _our_part(node)
        if part:
            self._add([one for one in self._nodes if _our_part(one) == part], _OURS.get(part, f"decode {part}"))
            return
        members, words = [node], [operator_title(node, self._weights)]
        while len(members[-1].output) == 1:
            following, word = self._following(members[-1].output[0], node.op_type in _WEIGHING)
            if not following:
                break
            members += following
            words.append(word)
        self._add(members, joined(words))

    def _add(self, members: List[onnx.NodeProto], title: str) -> None:
        self._block_of.update((node.name, len(self._members)) for node in members)
        self._members.append(members)
        self._titles.append(title)

    def _following(self, tensor: str, after_weights: bool) -> Tuple[List[onnx.NodeProto], str]:
        """The nodes that do nothing but go on with *tensor*, and what to call them; none where it parts."""
        readers = [] if tensor in self._outputs else self._readers.get(tensor, [])
        gate, name = self._gate(readers)
        if gate:
            return gate, name
        fits = _ELEMENTWISE | {"BatchNormalization"} if after_weights else _ELEMENTWISE | _MOVING
        if len(readers) != 1 or readers[0].op_type not in fits or _our_part(readers[0]):
            return [], ""
        if self._flowing(readers[0]) != [tensor]:
            return [], ""
        return readers, "" if after_weights and readers[0].op_type not in _ACTIVATIONS else readers[0].op_type

    def _gate(self, readers: Sequence[onnx.NodeProto]) -> Tuple[List[onnx.NodeProto], str]:
        """The activation that the two readers of a tensor are, where their ways meet in a product; else none."""
        if len(readers) != 2:
            return [], ""
        (one, product), (other, end) = (self._way(reader) for reader in readers)
        name = gate_name(node.op_type for node in (*one, *other))
        if not name or product.name != end.name or product.op_type != "Mul":
            return [], ""
        return [*one, *other, product], name

    def _way(self, node: onnx.NodeProto) -> Tuple[List[onnx.NodeProto], onnx.NodeProto]:
        """The element-wise nodes from *node* on, one after the other, and the first that is none."""
        passed: List[onnx.NodeProto] = []
        while node.op_type in _ELEMENTWISE and len(self._flowing(node)) == 1 and len(passed) < _LONGEST_WAY:
            readers = self._readers.get(node.output[0], [])
            if len(readers) != 1:
                break
            passed.append(node)
            node = readers[0]
        return passed, node

    def _flowing(self, node: onnx.NodeProto) -> List[str]:
        """The inputs that come from pictures: no weights, no shapes."""
        return [tensor for tensor in node.input if tensor and tensor not in self._static]

    def _block(self, title: str, members: Sequence[onnx.NodeProto]) -> Block:
        main = members[0]
        kind = next((kind for kind, operators in KINDS.items() if main.op_type in operators), "other")
        last = next((node for node in reversed(members) if any(map(self._shapes.get, node.output))), members[-1])
        shape = self._shapes.get(last.output[0], "")
        return Block(
            title,
            "sightd" if _our_part(main) else kind,
            self._precisions.get(main.name, ""),
            shape,
            tuple(node.name for node in members),
        )


def _in_order(made: Sequence[Block], edges: Sequence[Edge]) -> Tuple[List[Block], List[Edge]]:
    """The blocks so that each comes after all that it reads: a block may hold a node from before another's."""
    readers: Dict[int, List[int]] = {}
    missing = [0] * len(made)
    for edge in edges:
        readers.setdefault(edge.source, []).append(edge.target)
        missing[edge.target] += 1
    ready = [place for place, count in enumerate(missing) if count == 0]
    order: List[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers.get(order[-1], []):
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, reader)
    order += [place for place, count in enumerate(missing) if count > 0]  # two that read each other
    place_of = {place: index for index, place in enumerate(order)}
    return [made[place] for place in order], [Edge(place_of[edge.source], place_of[edge.target]) for edge in edges]


def _static_tensors(graph: onnx.GraphProto) -> Set[str]:
    """Weights, and all that is computed of weights and shapes alone."""
    static = {weights.name for weights in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Constant", "Shape") or (
            node.input and all(not one or one in static for one in node.input)
        ):
            static.update(node.output)
    return static


def _shapes(model: onnx.ModelProto) -> Dict[str, str]:
    """Tensor -> its sides but for the batch; those that are open as "?"."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: "×".join(str(dim.dim_value or "?") for dim in value.type.tensor_type.shape.dim[1:])
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }


def _our_part(node: onnx.NodeProto) -> str:
    """What sightd has put this node into the graph for: "input", the head's family, "best"; "" for the model's own."""
    part = str(node.name)[len(OUR_PREFIX) :].partition("/")[0] if node.name.startswith(OUR_PREFIX) else ""
    return "" if part == "batch" else part
