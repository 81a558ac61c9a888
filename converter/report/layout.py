"""Where the boxes of a graph go: layers from top to bottom, few crossings, edges that run straight (Sugiyama's way).

Each node's layer is its longest path from an input; an edge across several layers gets a place to pass in each of them;
within a layer nodes are ordered by the mean place of their neighbours, and put as near to these as the room allows.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

__all__ = ["Layout", "arranged"]

_SWEEPS = 12
#: What an edge takes that only passes.
_PASSING = 14.0

_Pair = Tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Centres of the nodes, and of the places that each edge passes."""

    #: Layer of each node, 0 at the top.
    layers: List[int]
    x: List[float]
    #: Edge -> (layer, x) of what it passes between its ends, from top to bottom.
    bends: Dict[_Pair, List[Tuple[int, float]]]
    width: float


def arranged(widths: Sequence[float], edges: Sequence[_Pair], gap: float) -> Layout:
    """A place for each node; *widths* has theirs, *edges* their numbers, in the order of computing.

    :param gap: left between neighbours.
    """
    edges = list(dict.fromkeys((min(edge), max(edge)) for edge in edges))  # nothing leads back up
    layers = _layers(len(widths), edges)
    nodes = _Nodes(list(widths), list(layers))
    chains = {edge: nodes.chain(edge) for edge in edges}
    rows = nodes.rows()
    for sweep in range(_SWEEPS):
        _order(rows, nodes.above if sweep % 2 == 0 else nodes.below, down=sweep % 2 == 0)
    x = _placed(rows, nodes, gap)
    left = min(x[node] - nodes.widths[node] / 2 for node in range(len(x)))
    x = [place - left for place in x]
    bends = {edge: [(nodes.layers[node], x[node]) for node in chain] for edge, chain in chains.items()}
    width = max(x[node] + nodes.widths[node] / 2 for node in range(len(x)))
    return Layout(layers, x[: len(widths)], bends, width)


class _Nodes:
    """The nodes, and after them those that stand for an edge's way through a layer."""

    def __init__(self, widths: List[float], layers: List[int]) -> None:
        self.widths, self.layers = widths, layers
        self.above: List[List[int]] = [[] for _ in widths]
        self.below: List[List[int]] = [[] for _ in widths]

    def chain(self, edge: _Pair) -> List[int]:
        """New nodes for *edge* in each layer between its ends."""
        source, target = edge
        between = [self._new(layer) for layer in range(self.layers[source] + 1, self.layers[target])]
        for upper, lower in zip([source, *between], [*between, target]):
            self.below[upper].append(lower)
            self.above[lower].append(upper)
        return between

    def rows(self) -> List[List[int]]:
        rows: List[List[int]] = [[] for _ in range(max(self.layers, default=0) + 1)]
        for node, layer in enumerate(self.layers):
            rows[layer].append(node)
        return rows

    def _new(self, layer: int) -> int:
        self.widths.append(_PASSING)
        self.layers.append(layer)
        self.above.append([])
        self.below.append([])
        return len(self.layers) - 1


def _layers(count: int, edges: Sequence[_Pair]) -> List[int]:
    layers = [0] * count
    readers: List[List[int]] = [[] for _ in range(count)]
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layers[target] = max(layers[target], layers[source] + 1)
        readers[source].append(target)
    fed = {target for _, target in edges}
    for node in range(count):  # what has no input of its own stands right above what reads it
        if readers[node] and node not in fed:
            layers[node] = min(layers[reader] for reader in readers[node]) - 1
    return layers


def _order(rows: List[List[int]], neighbours: List[List[int]], *, down: bool) -> None:
    """Sort each row by the mean place of its neighbours in the row before; a node without any keeps its place."""
    ordered = rows if down else rows[::-1]
    for before, row in zip(ordered, ordered[1:]):
        place = {node: index / max(1, len(before) - 1) for index, node in enumerate(before)}
        own = {node: index / max(1, len(row) - 1) for index, node in enumerate(row)}
        means = {
            node: sum(place[one] for one in neighbours[node]) / len(neighbours[node]) if neighbours[node] else own[node]
            for node in row
        }
        row.sort(key=means.__getitem__)


def _placed(rows: List[List[int]], nodes: _Nodes, gap: float) -> List[float]:
    """The x of each node's centre."""
    x = [0.0] * len(nodes.widths)
    for row in rows:
        _spread(row, [0.0] * len(row), nodes.widths, gap, x)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        near = nodes.above if down else nodes.below
        for row in rows if down else rows[::-1]:
            wanted = [statistics.median(x[one] for one in near[node]) if near[node] else x[node] for node in row]
            _spread(row, wanted, nodes.widths, gap, x)
    return x


def _spread(row: List[int], wanted: List[float], widths: List[float], gap: float, x: List[float]) -> None:
    """Put the nodes of *row* at x as near to the *wanted* places as they fit, in their order (least squares).

    With the room that each needs taken off, the places only must not fall: isotonic regression, by pooling neighbours.
    """
    offset, offsets = 0.0, []
    for before, node in zip([None, *row], row):
        offset += 0.0 if before is None else (widths[before] + widths[node]) / 2 + gap
        offsets.append(offset)
    pools: List[Tuple[float, int]] = []
    for place, start in zip(wanted, offsets):
        total, count = place - start, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            earlier = pools.pop()
            total, count = total + earlier[0], count + earlier[1]
        pools.append((total, count))
    level = [total / count for total, count in pools for _ in range(count)]
    for node, base, start in zip(row, level, offsets):
        x[node] = base + start
