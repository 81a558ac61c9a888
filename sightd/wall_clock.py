"""Notices when the wall clock is set: a Jetson without a battery starts in the past until NTP has answered."""

from __future__ import annotations

import time

__all__ = ["WallClock"]

#: NTP slews what is less, and nobody sees it.
_JUMP_S = 2.0


class WallClock:
    """Compares the wall clock with the monotonic one, which nothing sets. One thread.

    A machine that was suspended looks the same as one whose clock was set forward.
    """

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()
        self._set_at = -float("inf")
        #: How often it was set since this object was made, and by how many seconds the last time.
        self.jumps, self.last_jump_s = 0, 0.0

    def look(self) -> float:
        """By how many seconds the clock was set since the last look, forward or (negative) back; 0.0: it was not."""
        now = time.monotonic()
        ahead_s = time.time() - now
        jump_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(jump_s) < _JUMP_S:
            return 0.0
        self.jumps, self.last_jump_s, self._set_at = self.jumps + 1, jump_s, now
        return jump_s

    @property
    def steady_s(self) -> float:
        """Seconds since it was last seen being set; infinite where it never was."""
        return time.monotonic() - self._set_at
