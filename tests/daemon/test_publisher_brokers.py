"""Several brokers: one after the other when they fail, back to the first, and wherever a broker sends us.

mosquitto sends nobody elsewhere and turns nobody away for being busy: there a scripted broker speaks.
"""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from daemon.broker import BrokerFinding, BrokerOptions
from daemon.broker.lookout import Lookout
from daemon.broker.options import Address
from daemon.topics import Topics
from tests.parts.broker import Broker, collect, free_port, running_broker
from tests.parts.publishing import publishing, warnings_of
from tests.parts.scripted_broker import ScriptedBroker, connack, disconnect, scripted_broker

TOPICS = Topics("sightd/porch")
CANARY = "correct horse@battery/canary"


def at(broker: object) -> Address:
    return Address("127.0.0.1", broker.port)  # type: ignore[attr-defined]


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[List[Broker]]:
    with ExitStack() as stack:
        folders = [tmp_path / "first", tmp_path / "second"]
        for folder in folders:
            folder.mkdir()
        yield [stack.enter_context(running_broker(folder)) for folder in folders]


@pytest.fixture
def directing() -> Iterator[ScriptedBroker]:
    with scripted_broker() as broker:
        yield broker


def test_looking_out_for_a_broker_that_stays_away_takes_no_memory() -> None:
    lookout, first = Lookout("sightd/porch", 0.0), BrokerOptions("127.0.0.1", free_port())
    for _ in range(10):
        assert not lookout.is_back(first)
        for thread in threading.enumerate():
            if thread.name == "lookout":
                thread.join(10)
    assert sum(type(known) is BrokerFinding for known in gc.get_objects()) == 0


def test_the_second_broker_serves_while_the_first_is_away_and_the_first_when_it_is_back(
    brokers: List[Broker], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = brokers
    with collect(second) as seen, publishing(first.port, fallbacks=(at(second),), look_s=0.2) as running:
        running.put(TOPICS.status("gate"), b"online", retain=True)
        running.wait_until(lambda publisher: publisher.connected)
        assert running.publisher.broker == str(at(first))
        first.kill()
        seen.wait_for(TOPICS.available, b"online", deadline_s=5)
        seen.wait_for(TOPICS.status("gate"), b"online")
        assert running.publisher.broker == str(at(second))
        time.sleep(0.5)  # a look or two at a broker that is away
        assert running.publisher.connections == 2
        first.start()
        seen.wait_for(TOPICS.available, b"offline")
        with collect(first) as again:
            again.wait_for(TOPICS.available, b"online")
            again.wait_for(TOPICS.status("gate"), b"online")
        running.wait_until(lambda publisher: publisher.broker == str(at(first)) and publisher.connected)
    assert f"127.0.0.1:{first.port} is back: leaving MQTT broker 127.0.0.1:{second.port}" in caplog.text


def test_a_first_broker_that_is_there_but_does_not_take_us_is_not_returned_to(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with running_broker(tmp_path / "first", users={"sightd": "another"}) as first, running_broker(
        tmp_path / "second"
    ) as second, publishing(
        first.port, fallbacks=(at(second),), look_s=0.2, username="sightd", password=CANARY
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)
        time.sleep(1)
        assert running.publisher.connected
        assert running.publisher.connections == 1
        assert running.publisher.refusals == {"Not authorized": 1}
        assert running.publisher.last_refusal == f"Not authorized: {at(first)}"


def test_a_first_broker_that_takes_the_trial_but_not_us_is_not_run_after(
    brokers: List[Broker], directing: ScriptedBroker
) -> None:
    (second, _), answer = brokers, directing.answer

    def choosy(client: socket.socket, kind: int, flags: int, body: bytes) -> None:
        directing.connack = connack() if b"-doctor" in body else connack(0x87)
        answer(client, kind, flags, body)

    directing.answer = choosy  # type: ignore[method-assign]
    began = time.monotonic()
    with publishing(directing.port, fallbacks=(at(second),), look_s=0.3) as running:
        running.wait_until(lambda publisher: publisher.connections >= 2)
        time.sleep(1.5)
        connects, took_s = list(directing.connects), time.monotonic() - began
        trials = sum(b"-doctor" in connect for connect in connects)
        assert 2 <= len(connects) - trials <= 1 + trials, "once at the start, and once after a trial"
        assert trials <= 1 + took_s / 0.3


def test_brokers_that_are_all_away_are_told_once_each_and_tried_for_ever(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    with publishing(ports[0], fallbacks=(Address("127.0.0.1", ports[1]),)) as running:
        time.sleep(2.5)
        assert not running.publisher.connected
        assert running.publisher.away_s == pytest.approx(running.publisher.state_s, abs=1)
        told = warnings_of(caplog)
        assert [str(ports[0]) in told[0], str(ports[1]) in told[1], len(told)] == [True, True, 2]
        with running_broker(tmp_path, port=ports[1]):
            running.wait_until(lambda publisher: publisher.connected)
            assert running.publisher.away_s > 2.4
            assert running.publisher.state_s < running.publisher.away_s


# A broker that sends us elsewhere (scripted)


@pytest.mark.parametrize("reason", [0x9C, 0x9D], ids=["use another", "moved"])
@pytest.mark.parametrize("accepted", [False, True], ids=["at once", "later"])
def test_a_reference_to_a_broker_of_the_settings_is_followed(
    reason: int, accepted: bool, directing: ScriptedBroker, brokers: List[Broker]
) -> None:
    third, target = brokers
    reference = f"nowhere.example:1 127.0.0.1:{target.port}"
    if accepted:
        directing.afterwards = disconnect(reason, reference)
    else:
        directing.connack = connack(reason, reference=reference)
    with publishing(directing.port, fallbacks=(at(third), at(target)), look_s=0.2) as running:
        running.wait_until(lambda publisher: publisher.connected and publisher.broker == str(at(target)))
        time.sleep(0.6)
        assert running.publisher.broker == str(at(target)), "nobody returns to who has sent us away"
        assert len(directing.connects) == 1


def test_a_reference_to_a_stranger_gets_neither_the_password_nor_a_connection(
    directing: ScriptedBroker, brokers: List[Broker], caplog: pytest.LogCaptureFixture
) -> None:
    with scripted_broker() as stranger:
        directing.connack = connack(0x9D, reference=str(at(stranger)))
        with publishing(directing.port, fallbacks=(at(brokers[0]),), username="sightd", password=CANARY) as running:
            running.wait_until(lambda publisher: publisher.connected)
            assert running.publisher.broker == str(at(brokers[0]))
        assert stranger.connects == []
    (warning,) = warnings_of(caplog)
    assert f"it sends us for good to '{at(stranger)}', which sightd does if it is among mqtt.host" in warning
    assert "canary" not in caplog.text


def test_what_a_broker_says_of_itself_can_not_flood_the_log(
    directing: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    directing.connack = connack(0x9D, reference="x\n" * 40)
    with publishing(directing.port) as running:
        running.wait_until(lambda publisher: publisher.refusals["Server moved"] >= 2)
    (warning,) = warnings_of(caplog)
    assert "\n" not in warning


# Refusals (scripted)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0x80, "Unspecified error"),
        (0x85, "Client identifier not valid"),
        (0x86, "Bad user name or password"),
        (0x87, "Not authorized"),
        (0x88, "Server unavailable"),
        (0x89, "Server busy"),
        (0x8A, "Banned"),
        (0x95, "Packet too large"),
        (0x97, "Quota exceeded"),
        (0x9F, "Connection rate exceeded"),
    ],
)
def test_a_refusal_is_the_state_is_counted_and_told(
    code: int, reason: str, directing: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    directing.connack = connack(code)
    with publishing(directing.port) as running:
        running.wait_until(lambda publisher: publisher.state == f"refused: {reason}")
        assert running.publisher.refusals[reason] >= 1
        assert running.publisher.last_refusal == f"{reason}: {at(directing)}"
    assert f"refuses us ({reason}): " in warnings_of(caplog)[0]


@pytest.mark.parametrize("code", [0x9A, 0x9B], ids=["no retain", "no QoS 1"])
def test_a_broker_that_can_not_keep_our_will_is_served_without_one(code: int, directing: ScriptedBroker) -> None:
    directing.connack = connack(code)
    with publishing(directing.port) as running:
        running.wait_until(lambda _: len(directing.connects) >= 1)
        directing.connack = connack(maximum_qos=0, retain_available=0)
        running.wait_until(lambda publisher: publisher.connected)
        flags = [connect[7] for connect in directing.connects]
        assert (flags[0] & 0x04, flags[-1] & 0x04) == (0x04, 0)


@pytest.mark.parametrize(
    "script",
    [
        {"connack": connack(0xF0)},
        {"connack": connack(receive_maximum=0)},
        {"connack": connack(maximum_packet_size=0)},
        {"puback": 0xF0},
        {"afterwards": disconnect(0xF0)},
        {"afterwards": b"\x90\x00"},  # a SUBACK of nothing
        {"afterwards": b"\xe0\x04\x9c\x03\x1c\x00"},  # half a server reference
    ],
)
def test_a_broker_that_breaks_the_protocol_is_left_and_tried_again(script: Dict[str, Any]) -> None:
    with scripted_broker(**script) as broker, publishing(broker.port) as running:
        running.wait_until(lambda _: len(broker.connects) >= 2)
        assert running.errors == []


def test_another_client_with_our_id_is_not_fought(directing: ScriptedBroker) -> None:
    directing.afterwards = disconnect(0x8E)
    with publishing(directing.port) as running:
        running.wait_until(lambda publisher: publisher.connections == 1 and not publisher.connected)
        time.sleep(1.5)  # the usual pause would be over
        assert len(directing.connects) == 1
