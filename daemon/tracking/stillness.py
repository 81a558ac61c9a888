"""Whether an object stands still.

It has moved when its centre is more than a share of its own size away from where it last stood; one that has not
moved for a while is stationary.
"""

from __future__ import annotations

from .motion import Motion

__all__ = ["Stillness"]

#: Shares of its width and height: a detection of something that stands is a twentieth off, now and then more.
_MOVED = 0.25
_STATIONARY_S = 3.0


class Stillness:
    """Of one object; times are monotonic seconds."""

    __slots__ = ("motionless_count", "position_changes", "still_since", "x", "y")

    def __init__(self, motion: Motion, at: float) -> None:
        """It was just seen for the first time."""
        #: The centre where it last stood (pixels), and since when.
        self.x, self.y, self.still_since = motion.x, motion.y, at
        #: How often it was seen since; how often it moved on after it had been stationary.
        self.motionless_count = self.position_changes = 0

    def observe(self, motion: Motion, at: float) -> None:
        """It was just seen again."""
        self.motionless_count += 1
        if abs(motion.x - self.x) > _MOVED * motion.width or abs(motion.y - self.y) > _MOVED * motion.height:
            self.position_changes += self.is_stationary(at)
            self.motionless_count = 0
            self.x, self.y, self.still_since = motion.x, motion.y, at

    def is_stationary(self, at: float) -> bool:
        """Whether it had not moved for a while then."""
        return at - self.still_since >= _STATIONARY_S
