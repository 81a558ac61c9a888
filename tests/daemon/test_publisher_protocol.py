from __future__ import annotations

import importlib.util
import logging
import socket
import sys
from pathlib import Path
from typing import Iterator

import pytest

from daemon.broker.connection import MQTT_5, MQTT_311
from daemon.broker.ending import Cause
from daemon.broker.protocol_choice import ProtocolChoice
from daemon.topics import Topics
from demo.broker import demo_broker
from tests.parts.broker import Broker, collect, running_broker
from tests.parts.old_broker import old_broker
from tests.parts.publishing import publishing, warnings_of
from tests.parts.scripted_broker import scripted_broker

TOPICS = Topics("sightd/porch")
#: How brokers without MQTT 5 answer to it.
IN_MQTT_5 = b"\x20\x03\x00\x84\x00"
IN_MQTT_3 = b"\x20\x02\x00\x01"
NOT_AT_ALL = b""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


# Which version


def test_mqtt_5_is_spoken_where_it_is_understood(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
    assert "connected, MQTT 5" in caplog.text


@pytest.mark.parametrize("answer", [IN_MQTT_5, IN_MQTT_3, NOT_AT_ALL])
def test_an_old_broker_gets_3_1_1_at_once_and_everything_else_is_the_same(
    answer: bytes, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with collect(broker) as seen, old_broker(broker, answer) as old, publishing(old.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        running.put(TOPICS.status("gate"), b"online", retain=True)
        running.put(TOPICS.detections("gate"), b"{}")
        seen.wait_until(lambda collector: len(collector.newest) == 3)
        assert old.levels == [5, 4]
    assert "connected, MQTT 3.1.1" in caplog.text
    assert warnings_of(caplog) == []


def test_a_broker_that_was_updated_is_spoken_to_in_mqtt_5(broker: Broker) -> None:
    with old_broker(broker, IN_MQTT_3) as old, publishing(old.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        old.answer = None
        old.hang_up()
        running.wait_until(lambda publisher: publisher.connections == 2)
        assert old.levels == [5, 4, 5]


def test_a_hiccup_does_not_cost_mqtt_5(broker: Broker) -> None:
    with old_broker(broker, NOT_AT_ALL) as proxy:
        proxy.answer = None
        with publishing(proxy.port) as running:
            running.wait_until(lambda publisher: publisher.connected)
            proxy.answer = NOT_AT_ALL
            proxy.hang_up()
            running.wait_until(lambda _: len(proxy.levels) == 2)
            proxy.answer = None
            running.wait_until(lambda publisher: publisher.connections == 2)
            assert proxy.levels == [5, 5, 5]


def test_a_broker_that_forgot_mqtt_5_is_spoken_to_in_3_1_1(broker: Broker) -> None:
    with old_broker(broker, NOT_AT_ALL) as proxy:
        proxy.answer = None
        with publishing(proxy.port) as running:
            running.wait_until(lambda publisher: publisher.connected)
            proxy.answer = NOT_AT_ALL
            proxy.hang_up()
            running.wait_until(lambda publisher: publisher.connections == 2)
            assert proxy.levels == [5, 5, 5, 4]


def test_something_that_always_hangs_up_is_tried_with_both_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    levels = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with publishing(server.getsockname()[1]):
            for _ in range(5):
                connection, _ = server.accept()
                with connection:
                    connect = connection.recv(1000)
                    levels.append(connect[connect.index(b"MQTT") + 4])
    assert levels == [5, 4, 5, 4, 5]
    (warning,) = warnings_of(caplog)
    assert "hung up or gave no answer" in warning


@pytest.mark.skipif(
    sys.version_info < (3, 10) or not importlib.util.find_spec("amqtt"), reason="amqtt, for Python >= 3.10, is missing"
)
def test_amqtt_which_misreads_mqtt_5_is_spoken_to_in_3_1_1(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "daemon")
    with demo_broker() as address, publishing(address.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        running.put(TOPICS.status("gate"), b"online", retain=True)
        running.wait_until(lambda publisher: publisher._connection.unacknowledged == 0)
        assert "connected, MQTT 3.1.1" in caplog.text


def test_each_round_begins_with_5_and_a_refusal_for_the_version_ends_all_trust() -> None:
    choice = ProtocolChoice()
    assert choice.after(Cause.SILENT)
    assert choice.protocol == MQTT_311
    for cause in Cause:
        assert not choice.after(cause) or choice.protocol == MQTT_311
        choice.after(Cause.REFUSED)
        assert choice.protocol == MQTT_5
    assert not choice.after(Cause.LOST)
    assert choice.after(Cause.VERSION)
    assert not choice.after(Cause.UNREACHABLE)
    assert choice.protocol == MQTT_5


# What MQTT 5 tells


def test_an_acl_that_forbids_the_prefix_is_told_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = "user sightd\ntopic write sightd/porch/available\n"
    with running_broker(tmp_path, users={"sightd": "p"}, acl=acl) as broker, publishing(
        broker.port, username="sightd", password="p"
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)
        for number in range(30):
            running.put(TOPICS.status(f"camera{number}"), b"online", retain=True)
        running.put(TOPICS.detections("gate"), b"{}")
        running.wait_until(lambda publisher: publisher.denied == 30)
        assert running.publisher.last_denial.startswith("Not authorized: sightd/porch/camera")
        assert running.publisher.denies == running.publisher.last_denial
        assert running.publisher.connected
    (warning,) = warnings_of(caplog)
    assert "does not take what we publish to sightd/porch/camera0/status (Not authorized)" in warning
    assert "let this user write to sightd/porch/# in the broker's ACL" in warning


def test_what_is_denied_is_told_until_the_topic_is_taken_or_the_connection_ends() -> None:
    gate, yard = TOPICS.status("gate"), TOPICS.status("yard")
    with scripted_broker() as broker, publishing(broker.port, keepalive_s=1) as running:
        running.wait_until(lambda publisher: publisher.connected and len(broker.published) == 1)
        broker.puback = 0x87
        running.put(gate, b"online", retain=True)
        running.wait_until(lambda publisher: publisher.denies == f"Not authorized: {gate}")
        running.put(yard, b"online", retain=True)
        running.wait_until(lambda publisher: publisher.denies == f"Not authorized: {yard}")
        broker.puback = 0
        running.put(yard, b"offline", retain=True)
        running.wait_until(lambda publisher: publisher.denies == f"Not authorized: {gate}")
        broker.puback = 0x10  # No matching subscribers: taken
        running.put(gate, b"offline", retain=True)
        running.wait_until(lambda publisher: publisher.denies == "")
        broker.puback = 0x97
        running.put(gate, b"frozen", retain=True)
        running.wait_until(lambda publisher: publisher.denies == f"Quota exceeded: {gate}")
        broker.acknowledges = False  # it is left for that, and tells the next connection nothing
        running.put(yard, b"online", retain=True)
        running.wait_until(lambda publisher: not publisher.connected and publisher.denies == "")
        running.wait_until(lambda publisher: publisher.connections >= 2 and publisher.connected)
        assert running.publisher.denies == ""
        assert running.publisher.denials == {"Not authorized": 2, "Quota exceeded": 1}
        assert running.publisher.last_denial == f"Quota exceeded: {gate}"
        broker.acknowledges = True
        running.put(gate, b"online", retain=True)
        running.wait_until(lambda publisher: publisher.denies != "")
    assert running.publisher.denies == "", "nor does one deny that is not connected"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (0x8B, "(Server shutting down), trying again: it was shut down or restarted"),
        (0x8E, "(Session taken over), trying again: another client came with the id 'me'"),
        (0x8D, "(Keep alive timeout), trying again: it heard nothing from us"),
        (0x93, "(Receive maximum exceeded), trying again: look at the broker's log"),
    ],
)
def test_a_broker_that_says_why_it_hangs_up_is_quoted(
    reason: int, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    connack, why = b"\x20\x03\x00\x00\x00", b"\x04\x1f\x00\x01x"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with publishing(server.getsockname()[1], client_id="me") as running:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(connack + b"\xe0\x06" + bytes([reason]) + why)
            running.wait_until(lambda _: len(warnings_of(caplog)) > 0)
    assert advice in warnings_of(caplog)[0]
