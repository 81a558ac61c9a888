"""The assignment problem, solved by the Hungarian method: for metrics, which are defined by it."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["assignment"]


def assignment(cost: NDArray[np.float64]) -> List[Tuple[int, int]]:
    """Row and column of min(N, M) pairs of a finite [N, M] *cost*, whose sum is the least.

    Shortest augmenting paths with potentials (Kuhn 1955, Munkres 1957; O(N² M)).
    """
    if cost.shape[0] > cost.shape[1]:
        return [(row, column) for column, row in assignment(cost.T)]
    count, width = cost.shape
    by_row, by_column = np.zeros(count), np.zeros(width)
    owner = np.full(width, -1)
    for row in range(count):
        _augment(cost, by_row, by_column, owner, row)
    return [(int(owner[column]), int(column)) for column in np.flatnonzero(owner >= 0)]


def _augment(
    cost: NDArray[np.float64],
    by_row: NDArray[np.float64],
    by_column: NDArray[np.float64],
    owner: NDArray[np.int64],
    row: int,
) -> None:
    """Give *row* a column, in place: the shortest path over reduced costs to a column that nobody has."""
    width = len(owner)
    distance, before = np.full(width, np.inf), np.full(width, -1)
    done = np.zeros(width, bool)
    current, column, reached = row, -1, 0.0
    while current >= 0:
        reduced = reached + cost[current] - by_row[current] - by_column
        nearer = ~done & (reduced < distance)
        distance[nearer], before[nearer] = reduced[nearer], column
        column = int(np.where(done, np.inf, distance).argmin())
        reached = distance[column]
        done[column] = True
        current = int(owner[column])
    by_row[row] += reached
    others = np.flatnonzero(done & (owner >= 0))
    by_row[owner[others]] += reached - distance[others]
    by_column[done] -= reached - distance[done]
    while column >= 0:
        previous = int(before[column])
        owner[column] = owner[previous] if previous >= 0 else row
        column = previous
