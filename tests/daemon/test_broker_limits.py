"""What an MQTT 5 broker says that it takes is obeyed; mosquitto and a scripted broker say it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from daemon.broker.limits import Limits
from daemon.outbox import Message
from daemon.topics import Topics
from tests.parts.broker import collect, running_broker
from tests.parts.publishing import publishing, warnings_of
from tests.parts.scripted_broker import connack, scripted_broker

TOPICS = Topics("sightd/porch")


def put_states(running: object, count: int) -> None:
    for number in range(count):
        running.put(TOPICS.status(f"camera{number}"), b"online", retain=True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("receive_maximum", [1, 3])
def test_no_more_receipts_are_waited_for_than_the_broker_promises(receive_maximum: int) -> None:
    answer = connack(receive_maximum=receive_maximum)
    with scripted_broker(connack=answer, acknowledges=False) as broker, publishing(broker.port) as running:
        put_states(running, 20)
        running.wait_until(lambda _: len(broker.published) == receive_maximum)
        most = 0
        while running.publisher._connection.unacknowledged or not most:
            time.sleep(0.05)  # longer than a message needs, were it sent too early
            most = max(most, len(broker.owed))
            broker.pay()
        broker.acknowledges = True
        assert most == receive_maximum
        assert len(broker.published) == 21, "20 states and available"
        assert [message.payload for message in broker.published].count(b"online") == 21


def test_a_real_broker_with_a_receive_maximum_of_1_gets_everything(tmp_path: Path) -> None:
    with running_broker(tmp_path, lines="max_inflight_messages 1\n") as broker, collect(broker) as seen, publishing(
        broker.port
    ) as running:
        put_states(running, 50)
        seen.wait_until(lambda collector: len(collector.newest) == 51)
        assert running.publisher.connections == 1


def test_what_is_larger_than_the_broker_takes_is_not_sent_but_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_broker(tmp_path, lines="max_packet_size 500\n") as broker, collect(broker) as seen, publishing(
        broker.port
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)
        topic = TOPICS.status("gate")
        fits = b"x" * (500 - 3 - 2 - len(topic) - 2 - 1)
        running.put(topic, fits + b"x", retain=True)
        running.put(TOPICS.detections("gate"), b"x" * 10_000)
        running.wait_until(lambda publisher: publisher.denied == 2)
        assert running.publisher.denies == running.publisher.last_denial
        running.put(topic, fits, retain=True)
        running.put(TOPICS.detections("gate"), b"{}")
        seen.wait_for(TOPICS.detections("gate"), b"{}")
        seen.wait_for(topic, fits)
        running.wait_until(lambda publisher: publisher.denies == "")
        assert running.publisher.connections == 1
        assert running.publisher.last_denial == f"Packet too large: {TOPICS.detections('gate')}"
    (warning,) = warnings_of(caplog)
    assert "raise the broker's limit of a packet's size" in warning


def test_a_broker_without_qos_1_and_without_retained_messages_gets_neither_and_is_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = connack(maximum_qos=0, retain_available=0)
    with scripted_broker(connack=answer) as broker, publishing(broker.port) as running:
        put_states(running, 3)
        running.wait_until(lambda _: len(broker.published) == 4)
        assert {(message.qos, message.retain) for message in broker.published} == {(0, False)}
        assert running.publisher._connection.unacknowledged == 0
    (warning,) = warnings_of(caplog)
    assert "has no QoS 1 (what is lost on the way is not sent again) and retained messages" in warning


def test_a_broker_that_wants_to_hear_from_us_more_often_does() -> None:
    with scripted_broker(connack=connack(server_keep_alive=1)) as broker, publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        broker.answers_pings = False
        running.wait_until(lambda publisher: not publisher.connected, deadline_s=8)


def test_a_broker_that_is_content_with_less_is_watched_as_closely() -> None:
    answer = connack(server_keep_alive=600)
    with scripted_broker(connack=answer) as broker, publishing(broker.port, keepalive_s=1) as running:
        running.wait_until(lambda publisher: publisher.connected)
        broker.answers_pings = False
        running.wait_until(lambda publisher: not publisher.connected, deadline_s=8)


def test_a_broker_that_lives_but_gives_no_receipt_is_left(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_broker(acknowledges=False) as broker, publishing(broker.port, keepalive_s=1) as running:
        running.wait_until(lambda publisher: publisher.connections == 2)
        broker.acknowledges = True
        broker.pay()
    assert "no receipt for 2 s, connecting anew" in caplog.text


@pytest.mark.parametrize("count", [0, 1, 119, 120, 121, 16_375, 16_376, 16_377, 2_097_150])
def test_a_packets_size_is_what_the_specification_says(count: int) -> None:
    message = Message("topic", b"x" * count, retain=True)
    body = 2 + 5 + 2 + 1 + count
    size = 1 + sum(body >= limit for limit in (0, 128, 16_384, 2_097_152)) + body
    assert not Limits(packet=size).forbid(message)
    assert Limits(packet=size - 1).forbid(message)
