"""A trial of the broker for `sightd doctor`: connect, publish one message, see whether it is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Callable, List, Optional

from sightd.errors import SightdError

from ..outbox import Message
from . import advice
from .connection import MQTT_5, MQTT_311, Connection
from .ending import Cause, Ending
from .options import BrokerOptions

__all__ = ["BrokerFinding", "probe_broker"]


@dataclass(frozen=True)
class BrokerFinding:
    """What came out of it."""

    ok: bool
    #: The version of MQTT that the broker took: "5", "3.1.1", or "" when it took none.
    protocol: str
    #: What was found, and what to do where that is not ok; no secret is in it.
    sentence: str


def probe_broker(options: BrokerOptions, prefix: str, deadline_s: float = 5.0) -> BrokerFinding:
    """Publish to ``{prefix}/doctor``, not retained, under a client id beside the daemon's, which stays connected.

    Never raises for what the broker or the network does. Takes *deadline_s*, and the few seconds longer that
    finding an address and connecting may need.
    """
    options = replace(options, client_id=f"{options.client_id}-doctor")
    deadline = time.monotonic() + deadline_s
    denials: List[str] = []

    def on_receipt(message: Message, reason: str) -> None:
        if reason:
            denials.append(advice.denied(options, message.topic, reason, prefix))

    for protocol in (MQTT_5, MQTT_311):
        ending = _publish(options, protocol, prefix, on_receipt, deadline)
        if denials:
            return BrokerFinding(False, protocol, denials[0])
        if ending is None:
            return BrokerFinding(True, protocol, f"{options} takes what we publish, with MQTT {protocol}")
        finding = BrokerFinding(False, "", ending.sentence)
        if ending.cause not in (Cause.VERSION, Cause.SILENT):
            break
    return finding


def _publish(
    options: BrokerOptions, protocol: str, prefix: str, on_receipt: Callable[[Message, str], None], deadline: float
) -> Optional[Ending]:
    """Publish one message; None: the receipt came."""
    try:
        connection = Connection(options, protocol, prefix, on_receipt)
    except SightdError as error:
        return Ending(Cause.UNREACHABLE, "", str(error))
    sent = False
    try:
        while connection.turn():
            if time.monotonic() > deadline:
                return Ending(Cause.UNREACHABLE, "", f"{options} does not answer in time: is it overloaded or frozen?")
            if connection.accepted and not sent:
                sent = connection.publish(Message(f"{prefix}/doctor", b"checked", seq=1))
            elif sent and not connection.unacknowledged:
                return None
        return connection.ending()
    finally:
        connection.disconnect()
