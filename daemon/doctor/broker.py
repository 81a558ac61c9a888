"""The MQTT brokers: whether each is there, takes us, and lets us publish."""

from __future__ import annotations

from typing import Iterator

from sightd.errors import ConfigError
from sightd.settings import Settings

from ..broker import broker_options, probe_broker
from .finding import Area, Finding, parted

__all__ = ["AREA", "check"]

AREA = Area("broker")

_PROBE_S = 5.0
_FIX = "correct the section mqtt of the settings, or the broker's users and ACL"


def check(settings: Settings) -> Iterator[Finding]:
    """What each broker says to a connection like the daemon's."""
    try:
        options = broker_options(settings)
    except ConfigError as error:
        yield AREA.problem("connection", *parted(str(error), _FIX))
        return
    for address in (options.address, *options.fallbacks):
        name = "connection" if address == options.address else f"connection to {address}"
        found = probe_broker(options.at(address), settings.topic_prefix, deadline_s=_PROBE_S)
        if found.ok:
            yield AREA.ok(name, found.sentence)
        else:
            yield AREA.problem(name, *parted(found.sentence, _FIX))
