"""paho's client, made for one connection; connection.py drives it, and no other file knows paho."""

from __future__ import annotations

import socket
from typing import Any, Optional

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..outbox import Message
from .options import BrokerOptions
from .tls import tls_context

__all__ = ["LARGEST_INCOMING", "MQTT_5", "MQTT_311", "connect", "new_client"]

MQTT_5, MQTT_311 = "5", "3.1.1"

#: Bytes of the largest packet that is taken from a broker; what it has to say to us is far smaller.
LARGEST_INCOMING = 64 << 10

_CONNECT_TIMEOUT_S = 3.0


def new_client(options: BrokerOptions, protocol: str, will: Optional[Message]) -> mqtt.Client:
    """A client that is not connected yet. A new one for each connection: nothing stale is left in paho's own queues.

    :raises ConfigError: a file for TLS or the password can't be used.
    """
    is_5 = protocol == MQTT_5
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        options.client_id,
        clean_session=None if is_5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = _CONNECT_TIMEOUT_S
    client.max_inflight_messages_set(0)  # the limit is ours to keep: paho takes none once it is connected
    client.on_socket_open = _on_socket_open
    if will is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if options.username:
        client.username_pw_set(options.username, options.read_password() or None)
    if options.tls is not None:
        client.tls_set_context(tls_context(options.tls))
    return client


def connect(client: mqtt.Client, options: BrokerOptions, protocol: str) -> None:
    """Connect the socket, shake hands where it is TLS, and send CONNECT.

    :raises OSError, ValueError: it can't be done.
    """
    if protocol != MQTT_5:
        client.connect(options.host, options.port, options.keepalive_s)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = LARGEST_INCOMING
    client.connect(options.host, options.port, options.keepalive_s, clean_start=True, properties=properties)


def _on_socket_open(client: mqtt.Client, userdata: Any, connection: Any) -> None:
    # Nagle's algorithm holds a message back until the one before it is acknowledged: up to 40 ms each.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
