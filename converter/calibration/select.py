"""Which frames of a calibration set calibrate, and which are held out to judge the engine by."""

from __future__ import annotations

from collections import defaultdict
from typing import DefaultDict, Dict, Hashable, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.calibration_entries import Busyness, Entry, Light, busyness, light, stratum
from sightd.errors import CalibrationError
from sightd.frame_filters import DUPLICATE_BITS, distances

__all__ = ["Stratum", "choose", "split", "strata", "thumbnails"]

#: Camera, hour of the day, light, busyness.
Stratum = Tuple[str, int, Light, Busyness]

#: How often the two parts alternate over a camera's time: often enough that both see day and night of a set of some
#: days, seldom enough that few frames lie at a border.
_PERIODS = 10


def split(entries: Sequence[Entry], holdout_share: float, seed: int) -> Tuple[List[Entry], List[Entry]]:
    """*entries* as (calibration, hold-out), disjoint in time.

    For each camera, blocks of frames that follow one another in time alternate between the parts, so that both span
    the whole time. Held-out frames next to a border that show the same as the calibration frame on its other side
    (:data:`sightd.frame_filters.DUPLICATE_BITS`) are in neither part: they would prove nothing.

    :param holdout_share: of the frames, above 0 and below 1.
    :param seed: where the blocks of a camera begin.
    :raises CalibrationError: too few frames for two parts, or all alike.
    """
    generator = np.random.default_rng(seed)
    calibration: List[Entry] = []
    holdout: List[Entry] = []
    for _, members in sorted(_by_camera(entries).items()):
        period = max(round(1 / holdout_share), -(-len(members) // _PERIODS))
        held = min(max(1, round(period * holdout_share)), period - 1)
        begin = int(generator.integers(period))
        is_held = np.array([(place + begin) % period < held for place in range(len(members))])
        calibration += [entry for entry, out in zip(members, is_held) if not out]
        holdout += [members[place] for place in np.flatnonzero(is_held & ~_seen_across_border(members, is_held))]
    if not calibration or not holdout:
        raise CalibrationError(
            f"{len(entries)} frames are too few, or too much alike, to calibrate on some and judge by others: "
            "capture more, at other times"
        )
    return calibration, holdout


def choose(entries: Sequence[Entry], points: NDArray[np.float32], count: int, seed: int) -> List[int]:
    """The places in *entries* of at most *count* of them, as different as can be; the same ones for the same seed.

    They come in the order of choice, and every beginning of it is a good choice by itself. Every camera and hour has
    equally many in it, as far as its frames go, and within these every light and busyness; of the frames whose turn
    it is comes the one that is least like all before (Gonzalez' greedy k-centre).

    :param points: [len(entries), D], what the entries look like: :func:`thumbnails` or better.
    :param seed: where to begin.
    """
    order = sorted(range(len(entries)), key=lambda place: (entries[place].captured_at, entries[place].file))
    keys = strata([entries[place] for place in order])
    coarse, fine = _numbered([key[:2] for key in keys]), _numbered(keys)
    chosen = _k_centres(points[order], coarse, fine, min(count, len(order)), seed)
    return [order[place] for place in chosen]


def strata(entries: Sequence[Entry]) -> List[Stratum]:
    """The stratum of each entry."""
    return [(*stratum(entry), light(entry), busyness(entry)) for entry in entries]


def thumbnails(entries: Sequence[Entry]) -> NDArray[np.float32]:
    """[len(entries), 64] float32: 8 x 8 luma, 0 to 255."""
    data = bytes.fromhex("".join(entry.thumbnail for entry in entries))
    return np.frombuffer(data, np.uint8).reshape(-1, 64).astype(np.float32)


def _by_camera(entries: Sequence[Entry]) -> Dict[str, List[Entry]]:
    cameras: DefaultDict[str, List[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: (entry.captured_at, entry.file)):
        cameras[entry.camera].append(entry)
    return cameras


def _seen_across_border(members: Sequence[Entry], is_held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which held-out frames show, without a break up to the border, what the calibration frame beyond it shows."""
    seen = np.zeros(len(members), bool)
    for direction in (1, -1):
        beyond = None
        for place in range(len(members))[::direction]:
            if not is_held[place]:
                beyond = members[place].dhash
            elif beyond is not None and distances([members[place].dhash], [beyond])[0, 0] <= DUPLICATE_BITS:
                seen[place] = True
            else:
                beyond = None
    return seen


def _numbered(keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """[len(keys)] the same number for the same key."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.intp)


def _k_centres(
    points: NDArray[np.float32], coarse: NDArray[np.intp], fine: NDArray[np.intp], count: int, seed: int
) -> List[int]:
    """*count* rows of *points*, each the farthest from all before in the strata that have given least."""
    if not count:
        return []
    of_coarse, of_fine = np.zeros(len(points), np.intp), np.zeros(len(points), np.intp)
    norms = np.square(points).sum(axis=1)
    apart = np.full(len(points), np.inf, np.float32)
    free = np.ones(len(points), bool)
    chosen = [int(np.random.default_rng(seed).integers(len(points)))]
    while len(chosen) < count:
        last = chosen[-1]
        free[last] = False
        of_coarse[coarse == coarse[last]] += 1
        of_fine[fine == fine[last]] += 1
        # Squared distances; of thumbnails they are whole numbers and exact, so that ties break alike everywhere.
        apart = np.minimum(apart, norms + norms[last] - 2 * (points @ points[last]))
        turn = of_coarse * len(points) + of_fine
        chosen.append(int(np.where(free & (turn == turn[free].min()), apart, -1).argmax()))
    return chosen
