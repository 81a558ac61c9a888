"""The pen of the surgery: nodes and weights under our own names, put into a graph in one go."""

from __future__ import annotations

from typing import Any, List, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.helper import make_node

from .graph import OUR_PREFIX

__all__ = ["Graft"]


class Graft:
    """Nodes to be put into a graph, each named ``sightd/<part>/<operator>_<n>``; :meth:`insert` puts them in."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._nodes: List[onnx.NodeProto] = []
        self._weights: List[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return that tensor's name."""
        return self.add_all(operator, *inputs, outputs=1, **attributes)[0]

    def add_all(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> List[str]:
        """Add a node with several outputs and return the tensors' names."""
        name = f"{OUR_PREFIX}{self._part}/{operator}_{len(self._nodes)}"
        tensors = [f"{name}:{index}" for index in range(outputs)]
        self._nodes.append(make_node(operator, list(inputs), tensors, name=name, **attributes))
        return tensors

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> List[str]:
        """*tensor* cut into parts of *sizes* along *axis*."""
        lengths = self.constant(np.array(sizes, np.int64))
        return self.add_all("Split", tensor, lengths, outputs=len(sizes), axis=axis)

    def constant(self, value: NDArray[np.generic]) -> str:
        """Add a weight and return its name."""
        name = f"{OUR_PREFIX}{self._part}/constant_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def insert(self, graph: onnx.GraphProto, index: int) -> None:
        """Put everything added into *graph*, before its node number *index*."""
        nodes = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes[:index], *self._nodes, *nodes[index:]])
        graph.initializer.extend(self._weights)
