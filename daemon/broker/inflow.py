"""When a subscription brings more than anybody means: it is given up for a while, and what matters gets through."""

from __future__ import annotations

__all__ = ["FLOODED", "MOST", "PAUSE_S", "Inflow"]

#: Why nothing is subscribed to for a while; like a broker's reason.
FLOODED = "flooded"

#: Messages that may come in a second: a scene that switches every camera at once is far below.
MOST = 1000
#: How long nothing is subscribed to then, in seconds.
PAUSE_S = 10.0


class Inflow:
    """Of one subscription; times are monotonic seconds."""

    def __init__(self) -> None:
        self._second_began_at, self._came = 0.0, 0
        self._shut_until = 0.0

    def is_too_much(self, now: float) -> bool:
        """Count a message; True, once: the subscription is to be given up."""
        if now >= self._second_began_at + 1:
            self._second_began_at, self._came = now, 0
        self._came += 1
        if self._came <= MOST or self._shut_until:
            return False
        self._shut_until = now + PAUSE_S
        return True

    def may_reopen(self, now: float) -> bool:
        """True, once: the time is over for which it was given up."""
        if not self._shut_until or now < self._shut_until:
            return False
        self._shut_until = 0.0
        return True
