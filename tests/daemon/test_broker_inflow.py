"""Commands at full speed: what is counted, and that events get their receipts meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Dict, List

import paho.mqtt.publish as mqtt_publish
import pytest

from daemon.broker import inflow
from daemon.broker.inflow import MOST, PAUSE_S, Inflow
from daemon.commands import Commands
from daemon.outbox import Message, Outbox
from daemon.outbox.spool import EventSpool
from daemon.topics import Topics
from tests.parts.broker import Broker, collect
from tests.parts.events import event
from tests.parts.publishing import publishing, warnings_of

TOPICS = Topics("sightd/porch")
COMMAND = "sightd/porch/yard/enabled/set"
#: A publisher as fast as the network, MQTT 3.1.1 with QoS 0, for so many seconds.
FLOOD = f"""
import socket, sys, time
topic = b"{COMMAND}"
packet = bytes([0x30, 2 + len(topic) + 2]) + len(topic).to_bytes(2, "big") + topic + b"ON"
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(bytes([0x10, 15]) + b"\\0\\4MQTT\\4\\2\\0\\x3c\\0\\3fld")
connection.recv(4)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    connection.sendall(1000 * packet)
"""


def test_as_many_as_anybody_means_are_never_too_much() -> None:
    one = Inflow()
    assert not any(one.is_too_much(100 + number / MOST) for number in range(5 * MOST))
    assert not one.may_reopen(1000)


def test_more_are_told_once_and_once_again_after_the_pause() -> None:
    one = Inflow()
    for began in (100.0, 100.5 + PAUSE_S):
        assert [one.is_too_much(began) for _ in range(3 * MOST)].count(True) == 1
        assert not one.may_reopen(began + PAUSE_S - 0.1)
        assert one.may_reopen(began + PAUSE_S)
        assert not one.may_reopen(began + PAUSE_S)


def test_a_flood_of_commands_delays_no_receipt_and_commands_count_again_when_it_is_over(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Receipts came up to 20 s late, behind what the broker and the network had gathered for us."""
    monkeypatch.setattr(inflow, "PAUSE_S", 2.0)
    spool, put_at, late_s = EventSpool(settle_s=0.0), {}, []
    _watch(spool, put_at, late_s)
    states = Outbox()
    commands = Commands(TOPICS, states, lambda: {"yard": True}, listen=True)
    with collect(broker, TOPICS.events("yard")), publishing(broker.port, inbox=commands.inbox, events=spool) as running:
        running.wait_until(lambda publisher: publisher.connected)
        with subprocess.Popen([sys.executable, "-c", FLOOD, str(broker.port), "6"]) as flood:
            while flood.poll() is None:
                seq = running.outbox.next_seq()
                put_at[seq] = time.monotonic()
                running.outbox.put(event(seq, TOPICS.events("yard")))
                time.sleep(0.05)
        running.wait_until(lambda _: len(late_s) == len(put_at))
        assert max(late_s) < 6, "on a busy machine; else a tenth of a second; more than 30 s where it stays subscribed"
        assert running.publisher.connections == 1
        assert sum(commands.refused.values()) > MOST
        assert running.publisher.denials["flooded"] >= 1
        assert len([line for line in warnings_of(caplog) if "more than 1000 commands a second" in line]) == 1

        def obeyed(_: object) -> bool:
            mqtt_publish.single(COMMAND, b"OFF", hostname="127.0.0.1", port=broker.port)
            return commands.obey(time.monotonic())

        running.wait_until(obeyed)
        assert running.publisher.denies == "", "the subscription stands again"
        assert running.publisher.denied >= 1
    states.close()


def _watch(spool: EventSpool, put_at: Dict[int, float], late_s: List[float]) -> None:
    """Note how long each receipt takes."""
    real = spool.receipt

    def receipt(message: Message, reason: str) -> None:
        late_s.append(time.monotonic() - put_at[message.seq])
        real(message, reason)

    spool.receipt = receipt  # type: ignore[method-assign]
