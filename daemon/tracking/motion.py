"""Where an object is expected: a Kalman filter of constant velocity.

The state is the object's centre and the centre's velocity; its sides are those last seen. The noise is the same along
both axes and in proportion to the size, so one covariance in units of the size serves both, and depends on the times of
the observations alone. The acceleration is white noise, as in Bar-Shalom, Li and Kirubarajan, Estimation with
Applications to Tracking and Navigation (2001), 6.2.2: so a step may take as long as it likes, and a camera that drops
frames is no worse than one of a lower rate.

In plain numbers: of the few objects that a camera sees, each costs less than the calls of one NumPy operation.
"""

from __future__ import annotations

__all__ = ["Motion"]

#: Variance of an observed centre, in squared sizes: detections are a twentieth of the size off, as in ByteTrack.
_NOISE = 0.05**2
#: Of a velocity that nothing is known of yet, in squared sizes a second.
_UNKNOWN = 1.0**2
#: Spectral density of the acceleration: squared sizes a second³. Chosen on `python -m bench tracker`'s first parts.
_ACCELERATION = 0.3


class Motion:
    """Of one object: its centre, sides and velocity in pixels and seconds, the variances in object sizes."""

    __slots__ = ("covariance", "height", "speed_x", "speed_y", "variance", "velocity_variance", "width", "x", "y")

    def __init__(self, x: float, y: float, width: float, height: float) -> None:
        """It was just seen for the first time, with that centre."""
        self.x, self.y, self.width, self.height = x, y, width, height
        self.speed_x = self.speed_y = 0.0
        self.variance, self.covariance, self.velocity_variance = _NOISE, 0.0, _UNKNOWN

    def predict(self, seconds: float) -> None:
        """Move on by *seconds*."""
        covariance = self.covariance + seconds * self.velocity_variance
        self.x += seconds * self.speed_x
        self.y += seconds * self.speed_y
        self.variance += seconds * (self.covariance + covariance) + _ACCELERATION * seconds**3 / 3
        self.covariance = covariance + _ACCELERATION * seconds**2 / 2
        self.velocity_variance += _ACCELERATION * seconds

    def observe(self, x: float, y: float, width: float, height: float) -> None:
        """It was seen again, with that centre."""
        covariance, total = self.covariance, self.variance + _NOISE
        gain, velocity_gain = self.variance / total, covariance / total
        surprise_x, surprise_y = x - self.x, y - self.y
        self.x += gain * surprise_x
        self.y += gain * surprise_y
        self.speed_x += velocity_gain * surprise_x
        self.speed_y += velocity_gain * surprise_y
        self.width, self.height = width, height
        self.velocity_variance -= velocity_gain * covariance
        self.covariance = covariance * (1.0 - gain)
        self.variance *= 1.0 - gain
