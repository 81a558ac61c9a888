"""Which topics' events may be sent now: the broker may not take those of some, which must not hold up the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

__all__ = ["TopicGate"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


@dataclass
class _Topic:
    #: Whether the broker has taken an event of it, in this connection.
    proven: bool = False
    #: The number of the one event that is on its way to find out; 0: none is.
    probe: int = 0
    retry_at: float = 0.0
    pause_s: float = 0.0
    #: The lowest number that was passed over; 0: none was.
    passed: int = 0


class TopicGate:
    """For each topic one event goes ahead, in each connection; the others follow when the broker has taken it.

    So a topic's events keep their order when the broker refuses one: it is tried again after a pause, which doubles
    up to a minute. Not for use by several threads. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._topics: Dict[str, _Topic] = {}

    def begin(self) -> None:
        """A new connection: everything may be different."""
        self._topics.clear()

    def admits(self, topic: str, seq: int, now: float) -> bool:
        """Whether event *seq* may be sent; it is then taken for sent."""
        state = self._topics.setdefault(topic, _Topic())
        if state.proven:
            return True
        if state.probe or now < state.retry_at:
            state.passed = min(state.passed or seq, seq)
            return False
        state.probe = seq
        return True

    def taken(self, topic: str) -> None:
        """The broker took an event."""
        state = self._topics.setdefault(topic, _Topic())
        state.proven, state.probe, state.pause_s, state.retry_at = True, 0, 0.0, 0.0

    def refused(self, topic: str, seq: int, now: float, pause_s: float = 0.0) -> None:
        """The broker did not take event *seq*: hold the topic for *pause_s*, or for twice as long as the last time."""
        state = self._topics.setdefault(topic, _Topic())
        if now >= state.retry_at:  # else it is one of several that were on their way together
            state.pause_s = min(max(2 * state.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            state.retry_at = now + (pause_s or state.pause_s)
        state.proven, state.probe = False, 0
        state.passed = min(state.passed or seq, seq)

    def resume_from(self, now: float) -> int:
        """The lowest number that was passed over and may be tried now; 0: none. It is told once."""
        ready = [state for state in self._topics.values() if state.passed and not state.probe and now >= state.retry_at]
        lowest = min((state.passed for state in ready), default=0)
        for state in ready:
            state.passed = 0
        return lowest
