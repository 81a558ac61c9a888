"""One connection, and what becomes of what is published on it."""

from __future__ import annotations

import time
from typing import List, Tuple

from daemon.broker import BrokerOptions
from daemon.broker.connection import MQTT_5, Connection
from daemon.outbox import Message
from tests.parts.scripted_broker import scripted_broker

STATE = Message("sightd/porch/gate/status", b"online", retain=True)
EVENT = Message("sightd/porch/gate/events", b"{}", seq=7)


def connected(port: int, receipts: List[Tuple[Message, str]]) -> Connection:
    def on_receipt(message: Message, reason: str) -> None:
        receipts.append((message, reason))

    options = BrokerOptions("127.0.0.1", port)
    connection = Connection(options, MQTT_5, "sightd/porch", on_receipt)
    until = time.monotonic() + 10
    while not connection.accepted:
        assert connection.turn()
        assert time.monotonic() < until
    return connection


def test_each_qos_1_message_is_told_with_what_became_of_it() -> None:
    receipts: List[Tuple[Message, str]] = []
    with scripted_broker() as broker:
        connection = connected(broker.port, receipts)
        assert connection.room == 10
        connection.publish(STATE)
        connection.publish(Message("sightd/porch/gate/detections", b"{}"))
        assert connection.unacknowledged == 1
        assert connection.room == 9
        while len(receipts) < 1:
            assert connection.turn()
        broker.puback = 0x97
        connection.publish(EVENT)
        while len(receipts) < 2:
            assert connection.turn()
        connection.cut()
    assert receipts == [(STATE, ""), (EVENT, "Quota exceeded")]
