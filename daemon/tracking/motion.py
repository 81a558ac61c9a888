"""Where tracks are expected: a Kalman filter of constant velocity, for all tracks of a camera by column.

The state of a track is its centre and the centre's velocity; its sides are those last seen. The noise is the same along
both axes and in proportion to the size, so one covariance in units of the size serves both, and depends on the times of
the observations alone. The acceleration is white noise, as in Bar-Shalom, Li and Kirubarajan, Estimation with
Applications to Tracking and Navigation (2001), 6.2.2: so a step may take as long as it likes, and a camera that drops
frames is no worse than one of a lower rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOTION", "observe", "predict", "start"]

#: Fields of a structured array that the functions here read and write: pixels, seconds, variances in object sizes.
MOTION = [
    ("centre", np.float64, 2),
    ("sides", np.float64, 2),
    ("velocity", np.float64, 2),
    ("variance", np.float64),
    ("covariance", np.float64),
    ("velocity_variance", np.float64),
]

#: Variance of an observed centre, in squared sizes: detections are a twentieth of the size off, as in ByteTrack.
_NOISE = 0.05**2
#: Of a velocity that nothing is known of yet, in squared sizes a second.
_UNKNOWN = 1.0**2
#: Spectral density of the acceleration: squared sizes a second³. Chosen on `python -m bench tracker`'s first parts.
_ACCELERATION = 0.3

#: A structured array with the fields of MOTION.
Tracks = NDArray[Any]


def start(tracks: Tracks, centres: NDArray[np.float64], sides: NDArray[np.float64]) -> None:
    """Tracks that were just seen for the first time, at *centres* [N, 2] with *sides* [N, 2]."""
    tracks["centre"], tracks["sides"], tracks["velocity"] = centres, sides, 0.0
    tracks["variance"], tracks["covariance"], tracks["velocity_variance"] = _NOISE, 0.0, _UNKNOWN


def predict(tracks: Tracks, seconds: float) -> None:
    """Move all on by *seconds*, in place."""
    velocity_variance = tracks["velocity_variance"]
    covariance = tracks["covariance"] + seconds * velocity_variance
    tracks["centre"] += seconds * tracks["velocity"]
    tracks["variance"] += seconds * (tracks["covariance"] + covariance) + _ACCELERATION * seconds**3 / 3
    tracks["covariance"] = covariance + _ACCELERATION * seconds**2 / 2
    tracks["velocity_variance"] += _ACCELERATION * seconds


def observe(tracks: Tracks, centres: NDArray[np.float64], sides: NDArray[np.float64]) -> None:
    """Correct tracks that were seen again, likewise, in place."""
    tracks["sides"] = sides
    total = tracks["variance"] + _NOISE
    gain, velocity_gain = tracks["variance"] / total, tracks["covariance"] / total
    surprise = centres - tracks["centre"]
    tracks["centre"] += gain[:, None] * surprise
    tracks["velocity"] += velocity_gain[:, None] * surprise
    tracks["velocity_variance"] -= velocity_gain * tracks["covariance"]
    tracks["covariance"] *= 1.0 - gain
    tracks["variance"] *= 1.0 - gain
