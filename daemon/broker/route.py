"""Which broker to try next, in which version of MQTT, and after which pause."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Dict, Iterator, Optional, Set

from sightd.settings import split_address

from .ending import Cause, Ending
from .options import Address, BrokerOptions
from .protocol_choice import ProtocolChoice

__all__ = ["LONGEST_PAUSE_S", "Route", "pauses"]

# Once the broker is back an event waits for the longest at most, for the seconds in which a connection settles, and for
# the events before it: below five seconds.
_SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
#: Each pause is so much longer than the one before.
_GROWTH = 1.25
#: A connection that stood so long has held, its first events included; one that breaks sooner, again and again, is not
#: hurried after.
_HELD_S = 2.0

#: Seconds for which a broker that says this is left alone. All other reasons may be gone at any moment.
_WISHES_S = {
    "Server busy": 10.0,
    "Server unavailable": 10.0,
    "Quota exceeded": 10.0,
    "Connection rate exceeded": 10.0,
    "Message rate too high": 10.0,
    "Session taken over": 30.0,  # two that share an id would throw each other out at full speed
    "Administrative action": 30.0,
    "Banned": 60.0,
}
_TEMPORARILY, _FOR_GOOD = "Use another server", "Server moved"
#: References followed one after the other.
_MOST_HOPS = 3


def pauses() -> Iterator[float]:
    """Seconds between attempts: growing, with jitter so that a site's daemons don't all come back at once."""
    pause_s = _SHORTEST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.75, 1.0)  # noqa: S311 - no secret depends on it
        pause_s = min(_GROWTH * pause_s, LONGEST_PAUSE_S)


@dataclass
class _Place:
    """One broker: how long it is left alone the next time, and until when it is."""

    pauses: Iterator[float] = field(default_factory=pauses)
    free_at: float = 0.0


class Route:
    """Leads from one broker to the next, for ever. The publisher's thread only.

    Each broker is left alone for a while after it failed. Of those that are free, the first in the settings' order is
    next, at once, unless it was tried in this round already; where there is none, the one that is free soonest, then.
    """

    def __init__(self, options: BrokerOptions) -> None:
        """Begin with the first.

        :param options: with the first broker's address and the fallbacks.
        """
        self._options, self._choice = options, ProtocolChoice()
        self._configured = {address: _Place() for address in (options.address, *options.fallbacks)}
        #: The brokers in the order in which they are tried.
        self._order: Dict[Address, _Place] = self._configured
        #: Those that failed in this round, which ends when none is left, and when a connection has held.
        self._tried: Set[Address] = set()
        self._hops = 0
        self._address = options.address
        #: Whether the broker that is tried now is there instead of the first only because that one was away.
        self.stands_in = False

    @property
    def options(self) -> BrokerOptions:
        """What to connect to next."""
        return self._options.at(self._address)

    @property
    def first(self) -> BrokerOptions:
        """The broker that is preferred to all others."""
        return self._options.at(next(iter(self._order)))

    @property
    def protocol(self) -> str:
        """In which version of MQTT."""
        return self._choice.protocol

    def after(self, ending: Ending, stood_s: float) -> Optional[float]:
        """Choose what is next after a connection that ended so, *stood_s* seconds after it was begun.

        :returns: seconds to wait before; None: it is the same broker in another version of MQTT, at once.
        """
        if self._choice.after(ending.cause):
            return None
        now = time.monotonic()
        held = ending.cause is Cause.LOST and stood_s > _HELD_S
        self._leave(now, ending.reason, held)
        target = self._target(ending, now)
        if target is not None:
            self._hops += 1
            self._go(target)
            self.stands_in = False
            return 0.0
        self._hops = 0
        self._go(self._next(now))
        return max(0.0, self._order[self._address].free_at - now)

    def return_to_first(self) -> None:
        """The first broker is next."""
        self._go(self.first.address)

    def _leave(self, now: float, reason: str, held: bool) -> None:
        place = self._order.get(self._address, _Place())
        if held:
            place.pauses = pauses()
            self._tried.clear()
        self._tried.add(self._address)
        wish_s = _WISHES_S.get(reason, 0.0) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret depends on it
        place.free_at = now + max(next(place.pauses), wish_s)

    def _next(self, now: float) -> Address:
        for address, place in self._order.items():
            if place.free_at <= now and address not in self._tried:
                return address
        self._tried.clear()
        return min(self._order, key=lambda one: max(now, self._order[one].free_at))

    def _target(self, ending: Ending, now: float) -> Optional[Address]:
        """Where the broker sends us, if it may; None: nowhere."""
        if ending.reason not in (_TEMPORARILY, _FOR_GOOD) or self._hops >= _MOST_HOPS:
            return None
        for word in ending.reference.split():
            target = _address(word, self._options.port)
            known = target in self._configured
            if target is None or target == self._address or not (known or self._options.redirected_anywhere):
                continue
            if ending.reason == _FOR_GOOD:
                place = self._configured.get(target) or _Place()
                self._order = {target: place, **self._configured}
            if now >= self._order.get(target, _Place()).free_at:
                return target
        return None

    def _go(self, address: Address) -> None:
        if address != self._address:
            self._address, self._choice = address, ProtocolChoice()
        self.stands_in = address != self.first.address


def _address(word: str, default_port: int) -> Optional[Address]:
    try:
        host, port = split_address(word)
    except ValueError:
        return None
    return Address(host, port or default_port)
