"""How well tracks follow the truth: MOTA, identity switches and IDF1 of one clip.

MOTA and switches: Bernardin and Stiefelhagen, Evaluating Multiple Object Tracking Performance: the CLEAR MOT Metrics
(EURASIP Journal on Image and Video Processing, 2008): frame by frame, a match of the frame before stands as long as the
two still overlap, the rest is assigned at least cost. IDF1: Ristani et al., Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking (ECCV workshops 2016): true identities are assigned to tracks one to one over the
whole clip, so that most detections agree. A match has an IoU of .5 or more and the same class.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Counter as Counts
from typing import Dict, Iterable, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from converter.agreement.match import iou_matrix

from .assignment import assignment

__all__ = ["Box", "Scored", "score"]

_LEAST = 0.5
#: More than any sum of overlaps, so that the most pairs win before the best.
_NEVER = 1e6

#: Identity, class, and x1, y1, x2, y2.
Box = Tuple[int, int, Sequence[float]]


@dataclass(frozen=True)
class Scored:
    """Sums over clips can be built by adding."""

    objects: int = 0
    misses: int = 0
    false: int = 0
    switches: int = 0
    #: Detections on which the best assignment of identities agrees, and boxes of tracks in all.
    agreed: int = 0
    tracked: int = 0

    def __add__(self, other: Scored) -> Scored:
        own, theirs = vars(self), vars(other)
        return Scored(**{name: own[name] + theirs[name] for name in own})

    @property
    def mota(self) -> float:
        return 1 - (self.misses + self.false + self.switches) / max(1, self.objects)

    @property
    def idf1(self) -> float:
        return 2 * self.agreed / max(1, self.objects + self.tracked)


def score(frames: Iterable[Tuple[Sequence[Box], Sequence[Box], Sequence[Sequence[float]]]]) -> Scored:
    """Of each frame's truth, tracks, and boxes of what counts neither way."""
    matched: Dict[int, int] = {}
    last: Dict[int, int] = {}
    together: Counts[Tuple[int, int]] = Counter()
    total = Scored()
    for truth, tracks, ignored in frames:
        overlaps = _overlaps(truth, tracks)
        matched = _matches(truth, tracks, overlaps, matched)
        free = _free(tracks, matched, ignored)
        switches = sum(last.get(true, track) != track for true, track in matched.items())
        last.update(matched)
        counted = [place for place, one in enumerate(tracks) if one[0] not in free]
        total += Scored(len(truth), len(truth) - len(matched), len(counted) - len(matched), switches, 0, len(counted))
        for row, column in zip(*np.nonzero(overlaps >= _LEAST)):
            together[truth[row][0], tracks[column][0]] += 1
    return total + Scored(agreed=_agreed(together))


def _matches(
    truth: Sequence[Box], tracks: Sequence[Box], overlaps: NDArray[np.float64], before: Dict[int, int]
) -> Dict[int, int]:
    """True identity -> track in this frame."""
    rows = {one[0]: place for place, one in enumerate(truth)}
    columns = {one[0]: place for place, one in enumerate(tracks)}
    stands = {
        true: track
        for true, track in before.items()
        if true in rows and track in columns and overlaps[rows[true], columns[track]] >= _LEAST
    }
    left = [place for true, place in rows.items() if true not in stands]
    taken = set(stands.values())
    free = [place for track, place in columns.items() if track not in taken]
    return {**stands, **_assigned(truth, tracks, overlaps, left, free)}


def _assigned(
    truth: Sequence[Box], tracks: Sequence[Box], overlaps: NDArray[np.float64], left: List[int], free: List[int]
) -> Dict[int, int]:
    if not left or not free:
        return {}
    part = overlaps[np.ix_(left, free)]
    pairs = assignment(np.where(part >= _LEAST, 1 - part, _NEVER))
    return {truth[left[row]][0]: tracks[free[column]][0] for row, column in pairs if part[row, column] >= _LEAST}


def _free(tracks: Sequence[Box], matched: Dict[int, int], ignored: Sequence[Sequence[float]]) -> List[int]:
    """Tracks that match nothing and lie, by half of themselves, on what counts neither way."""
    taken = set(matched.values())
    if not ignored:
        return []
    boxes = np.array([one[2] for one in tracks], np.float64).reshape(-1, 4)
    crowd = np.ones(len(ignored), bool)
    within = iou_matrix(boxes, np.array(ignored, np.float64).reshape(-1, 4), crowd) >= _LEAST
    return [one[0] for one, aside in zip(tracks, within.any(axis=1)) if aside and one[0] not in taken]


def _overlaps(truth: Sequence[Box], tracks: Sequence[Box]) -> NDArray[np.float64]:
    """[len(truth), len(tracks)] IoU, 0 between different classes."""
    true = np.array([one[2] for one in truth], np.float64).reshape(-1, 4)
    found = np.array([one[2] for one in tracks], np.float64).reshape(-1, 4)
    same = np.array([one[1] for one in truth])[:, None] == np.array([one[1] for one in tracks])[None, :]
    return np.where(same, iou_matrix(true, found, np.zeros(len(found), bool)), 0.0)


def _agreed(together: Counts[Tuple[int, int]]) -> int:
    """The most detections that a one-to-one assignment of true identities to tracks agrees on."""
    true = {identity: place for place, identity in enumerate(sorted({pair[0] for pair in together}))}
    found = {identity: place for place, identity in enumerate(sorted({pair[1] for pair in together}))}
    if not together:
        return 0
    counts = np.zeros((len(true), len(found)))
    for (one, other), count in together.items():
        counts[true[one], found[other]] = count
    return int(sum(counts[row, column] for row, column in assignment(-counts)))
