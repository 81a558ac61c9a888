"""The demo's broker, of either kind, with a real client."""

from __future__ import annotations

import importlib.util
import queue
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo import broker
from demo.broker import BrokerAddress, demo_broker
from sightd.errors import SightdError
from tests.parts.requires import require

AMQTT = sys.version_info >= (3, 10) and importlib.util.find_spec("amqtt") is not None


@pytest.fixture
def without_amqtt(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def found(name: str, package: Any = None) -> Any:
        return None if name == "amqtt" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def exchange(address: BrokerAddress) -> None:
    """A message goes there and back, and a retained one waits for who subscribes later."""
    received: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.on_message = lambda _client, _userdata, message: received.put(message)
    client.connect(address.host, address.port)
    client.loop_start()
    try:
        client.publish("a/kept", b"1", qos=1, retain=True).wait_for_publish(10)
        client.subscribe("a/+", qos=1)
        assert received.get(timeout=10).payload == b"1"
        client.publish("a/live", b"2", qos=1)
        assert received.get(timeout=10).payload == b"2"
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.skipif(not AMQTT, reason="needs amqtt, and Python >= 3.10 for it")
def test_amqtt_serves_in_this_process_and_leaves_nothing_behind() -> None:
    with demo_broker() as address:
        assert address.name == "amqtt in this process"
        exchange(address)
    assert [thread.name for thread in threading.enumerate() if thread.name == "broker"] == []


def test_mosquitto_serves_where_amqtt_is_missing(without_amqtt: None) -> None:
    require("mosquitto")
    with demo_broker() as address:
        assert Path(address.name).name == "mosquitto"
        exchange(address)


def test_without_any_broker_the_message_says_what_to_install(
    without_amqtt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SightdError, match="install mosquitto"), demo_broker():
        pass


@pytest.mark.skipif(not AMQTT, reason="needs amqtt, and Python >= 3.10 for it")
def test_an_amqtt_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(broker, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(SightdError, match=r"amqtt does not start.*install mosquitto"), demo_broker():
            pass
