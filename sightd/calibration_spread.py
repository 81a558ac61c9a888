"""Which frame of a full calibration set makes room, so that the set spreads over all that its cameras see."""

from __future__ import annotations

from collections import defaultdict
from typing import Callable, DefaultDict, Hashable, List, Mapping, Sequence

import numpy as np

from .calibration_entries import Entry, busyness, light, stratum
from .frame_filters import distances

__all__ = ["dispensable"]


def dispensable(
    sizes: Mapping[Entry, int], newcomer: Entry, newcomer_bytes: int, max_frames: int, max_bytes: int
) -> List[Entry]:
    """The entries, of those with their *sizes* in bytes, that go for *newcomer* to fit; it may be the newcomer."""
    kept = [*sizes, newcomer]
    total = sum(sizes.values()) + newcomer_bytes
    victims: List[Entry] = []
    while newcomer not in victims and (len(kept) > max_frames or total > max_bytes):
        victim = _most_dispensable(kept, newcomer)
        victims.append(victim)
        kept.remove(victim)
        total -= sizes.get(victim, newcomer_bytes)
    return victims


def _most_dispensable(entries: Sequence[Entry], newcomer: Entry) -> Entry:
    """Two steps, not one over all four properties: else a varied day would crowd out the night, which has one light."""
    crowd = _largest(entries, newcomer, stratum)
    crowd = _largest(crowd, newcomer, lambda entry: (light(entry), busyness(entry)))
    apart = distances([entry.dhash for entry in crowd], [entry.dhash for entry in crowd])
    np.fill_diagonal(apart, 65)
    ranks = [(int(near), entry is not newcomer, entry.captured_at) for near, entry in zip(apart.min(axis=1), crowd)]
    return crowd[ranks.index(min(ranks))]


def _largest(entries: Sequence[Entry], newcomer: Entry, key: Callable[[Entry], Hashable]) -> List[Entry]:
    strata: DefaultDict[Hashable, List[Entry]] = defaultdict(list)
    for entry in entries:
        strata[key(entry)].append(entry)
    # Of strata equally large the newcomer's own: else two would take frames from one another for ever.
    return max(strata.values(), key=lambda members: (len(members), newcomer in members))
