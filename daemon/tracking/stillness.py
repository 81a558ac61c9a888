"""Whether tracks stand still, for all tracks of a camera by column.

A track has moved when its centre is more than a share of its own size away from where it last stood; one that has not
moved for a while is stationary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["STILLNESS", "observe", "start", "stationary"]

#: Fields of a structured array that the functions here read and write, beside those of MOTION and "seen_at".
STILLNESS = [
    #: The centre where it last stood (pixels), and since when (monotonic seconds).
    ("anchor", np.float64, 2),
    ("still_since", np.float64),
    #: How often it was seen since.
    ("motionless_count", np.int32),
    #: How often it moved on after it had been stationary.
    ("position_changes", np.int32),
]

#: Shares of its width and height: a detection of something that stands is a twentieth off, now and then more.
_MOVED = 0.25
_STATIONARY_S = 3.0


def start(tracks: NDArray[Any], at: float) -> None:
    """Tracks that were just seen for the first time."""
    tracks["anchor"], tracks["still_since"] = tracks["centre"], at


def observe(tracks: NDArray[Any], at: float) -> None:
    """Tracks that were just seen again, in place."""
    centre = tracks["centre"]
    tracks["motionless_count"] += 1
    moved = np.asarray((np.abs(centre - tracks["anchor"]) > _MOVED * tracks["sides"]).any(axis=1))
    if moved.any():
        tracks["position_changes"] += moved & (at - tracks["still_since"] >= _STATIONARY_S)
        tracks["motionless_count"][moved] = 0
        tracks["anchor"][moved] = centre[moved]
        tracks["still_since"][moved] = at


def stationary(tracks: NDArray[Any]) -> NDArray[np.bool_]:
    """Which had not moved for a while when they were last seen."""
    return np.asarray(tracks["seen_at"] - tracks["still_since"] >= _STATIONARY_S)
