"""The MQTT broker: who we are to it, one connection at a time, and what to tell when it fails."""

from __future__ import annotations

from .connection import Inbox
from .options import BrokerOptions, broker_options
from .probe import BrokerFinding, probe_broker

__all__ = ["BrokerFinding", "BrokerOptions", "Inbox", "broker_options", "probe_broker"]
