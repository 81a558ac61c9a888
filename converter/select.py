"""Which frames of a calibration set calibrate, and which are held out to judge the engine by."""

from __future__ import annotations

from collections import defaultdict
from typing import DefaultDict, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.calibration_entries import Entry, stratum
from sightd.errors import CalibrationError
from sightd.frame_filters import DUPLICATE_BITS, distances

__all__ = ["choose", "split"]

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


def choose(entries: Sequence[Entry], count: int, seed: int) -> List[Entry]:
    """At most *count* of *entries*, as different as can be, by camera and time; the same ones for the same seed.

    The strata are camera × hour of the day × third of the camera's luma. Each gives equally many, as far as it has
    them; within one, greedy k-centre on the thumbnails: always the picture that is least like those chosen.
    """
    generator = np.random.default_rng(seed)
    strata = _strata(entries)
    chosen: List[Entry] = []
    for key, share in _shares({key: len(members) for key, members in strata.items()}, count).items():
        members = strata[key]
        chosen += [members[place] for place in _k_centres(_thumbnails(members), share, generator)]
    return sorted(chosen, key=lambda entry: (entry.camera, entry.captured_at, entry.file))


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


_Stratum = Tuple[str, int, int]


def _strata(entries: Sequence[Entry]) -> Dict[_Stratum, List[Entry]]:
    """In the order of their keys, members by time."""
    strata: DefaultDict[_Stratum, List[Entry]] = defaultdict(list)
    for members in _by_camera(entries).values():
        terciles = np.quantile([entry.luma for entry in members], (1 / 3, 2 / 3))
        for entry in members:
            camera, hour = stratum(entry)
            strata[camera, hour, int(np.searchsorted(terciles, entry.luma))].append(entry)
    return dict(sorted(strata.items()))


def _shares(sizes: Dict[_Stratum, int], count: int) -> Dict[_Stratum, int]:
    """*count* dealt out one at a time, in rounds, to the strata that have some left."""
    shares = dict.fromkeys(sizes, 0)
    left = min(count, sum(sizes.values()))
    while left:
        for key, size in sizes.items():
            if left and shares[key] < size:
                shares[key] += 1
                left -= 1
    return shares


def _thumbnails(entries: Sequence[Entry]) -> NDArray[np.float32]:
    """[len(entries), 64]."""
    data = bytes.fromhex("".join(entry.thumbnail for entry in entries))
    return np.frombuffer(data, np.uint8).reshape(-1, 64).astype(np.float32)


def _k_centres(points: NDArray[np.float32], count: int, generator: np.random.Generator) -> List[int]:
    """Gonzalez' greedy k-centre: each next one is the farthest from all before."""
    if not count:
        return []
    centres = [int(generator.integers(len(points)))]
    apart = np.linalg.norm(points - points[centres[0]], axis=1)
    while len(centres) < count:
        apart[centres[-1]] = -1.0  # equal pictures are at distance 0: none twice
        centres.append(int(apart.argmax()))
        apart = np.where(apart < 0, apart, np.minimum(apart, np.linalg.norm(points - points[centres[-1]], axis=1)))
    return centres
