"""How fast a new connection may send the events that have gathered before it."""

from __future__ import annotations

__all__ = ["CatchUp"]

#: Events that are sent at once at most.
_BURST = 100.0


class CatchUp:
    """A token bucket for the events of before the connection; what is new is sent as it comes.

    For a subscriber that is slower than the publisher a broker keeps some messages (mosquitto 1000, by default);
    more it drops, giving its receipts all the same, and telling nobody. So what has gathered is sent at a rate that
    subscribers keep up with.

    Not for use by several threads. Times are monotonic seconds.
    """

    def __init__(self, rate: float) -> None:
        """*rate*: events a second."""
        self._rate = rate
        self._last_seq, self._tokens, self._at = 0, _BURST, 0.0

    def begin(self, last_seq: int, now: float) -> None:
        """A new connection: the events up to number *last_seq* are those that have gathered."""
        self._last_seq, self._tokens, self._at = last_seq, _BURST, now

    def room(self, limit: int, position: int, now: float) -> int:
        """How many of *limit* events behind number *position* may be sent now."""
        if position >= self._last_seq:
            return limit
        self._tokens = min(_BURST, self._tokens + self._rate * (now - self._at))
        self._at = now
        return min(limit, int(self._tokens))

    def sent(self, count: int) -> None:
        """So many were."""
        self._tokens = max(0.0, self._tokens - count)
