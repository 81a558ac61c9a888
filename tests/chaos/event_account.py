"""The events that a subscriber got, held against those that it had to get."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any, Dict, List, Set

from tests.chaos.event_maker import CAMERAS
from tests.chaos.outcome import Outcome
from tests.chaos.subscriber import Subscriber

__all__ = ["PATIENCE_S", "EventAccount"]

#: How long a backlog may take to arrive on a machine that is busy with more than us.
PATIENCE_S = 120.0


class EventAccount:
    """Of the events of tests.chaos.event_maker."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._events: List[Dict[str, Any]] = []

    @property
    def events(self) -> List[Dict[str, Any]]:
        """All that came, as it came, with "received_at"."""
        for message in self._subscriber.messages[len(self._events) :]:
            self._events.append({**json.loads(message.payload), "received_at": message.received_at})
        return self._events

    def anything_after(self, moment: float) -> float:
        """Wait until an event comes after *moment* (Unix seconds), be it an old one; seconds from then on."""
        return self._first(moment, "received_at")

    def fresh_after(self, moment: float) -> float:
        """Wait until an event comes that was made after *moment*; seconds from then on."""
        return self._first(moment, "at")

    def outcome(
        self, fault: str, injected: int, wanted: Set[str], recovered_s: float, *, counted: int = 0, **notes: Any
    ) -> Outcome:
        """Wait for the events with the ids *wanted*; what of them is missing in the end is lost.

        :param counted: so many were given up and said so; they are not waited for.
        """
        with suppress(AssertionError):
            self._subscriber.wait_until(
                lambda _: len(wanted - {event["id"] for event in self.events}) <= counted, PATIENCE_S
            )
        events = list(self.events)  # more come while we count
        times = Counter((event["id"], event["seq"], event["at"]) for event in events)
        ids = {event["id"] for event in events}
        notes = {
            **notes,
            "counted": counted,
            "wanted": len(wanted),
            "of_same_id_but_other": len(times) - len(ids),
            "of_same_seq_but_other": len(ids) - len({event["seq"] for event in events}),
            "out_of_order": sum(_late([event["seq"] for event in events if event["camera"] == one]) for one in CAMERAS),
        }
        return Outcome(fault, injected, len(wanted - ids), sum(times.values()) - len(times), recovered_s, notes)

    def _first(self, moment: float, key: str) -> float:
        self._subscriber.wait_until(lambda _: any(event[key] > moment for event in self.events), PATIENCE_S)
        return next(float(event["received_at"]) for event in self.events if event[key] > moment) - moment


def _late(numbers: List[int]) -> int:
    """How many came for the first time after a higher one."""
    highest = late = 0
    seen: Set[int] = set()
    for number in numbers:
        late += number < highest and number not in seen
        seen.add(number)
        highest = max(highest, number)
    return late
