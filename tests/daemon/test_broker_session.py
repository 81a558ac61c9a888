"""Whether a broker keeps our session, which is its memory of what it took."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from daemon.broker import BrokerOptions
from daemon.broker.connection import MQTT_5, MQTT_311, Connection
from daemon.outbox import Message
from tests.parts.broker import Broker, running_broker
from tests.parts.scripted_broker import scripted_broker

STATE = Message("sightd/porch/gate/status", b"online", retain=True)
EVENT = Message("sightd/porch/gate/events", b"{}", seq=7)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def connected(port: int, protocol: str, session_s: int, receipts: List[Tuple[Message, str]]) -> Connection:
    def on_receipt(message: Message, reason: str) -> None:
        receipts.append((message, reason))

    options = BrokerOptions("127.0.0.1", port)
    connection = Connection(options, protocol, "sightd/porch", on_receipt, session_s=session_s)
    until = time.monotonic() + 10
    while not connection.accepted:
        assert connection.turn()
        assert time.monotonic() < until
    return connection


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_311])
def test_a_session_is_there_again_after_a_lost_connection_unless_the_broker_lost_it(
    protocol: str, broker: Broker
) -> None:
    for session_s, present in [(60, False), (60, True), (60, True), (0, False), (60, False)]:
        connection = connected(broker.port, protocol, session_s, [])
        assert connection.session_present is present
        connection.cut()
    broker.kill()
    broker.start()
    connection = connected(broker.port, protocol, 60, [])
    assert not connection.session_present
    connection.cut()


def test_each_qos_1_message_is_told_with_what_became_of_it() -> None:
    receipts: List[Tuple[Message, str]] = []
    with scripted_broker() as broker:
        connection = connected(broker.port, MQTT_5, 0, receipts)
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
