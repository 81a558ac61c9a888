"""One connection to the broker, from CONNECT to its end: the only file that knows paho."""

from __future__ import annotations

import math
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Dict, Optional

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import MQTTException  # type: ignore[attr-defined] # paho 2.0 and 2.1 raise their own
from paho.mqtt.reasoncodes import ReasonCode

from sightd.errors import SightdError

from ..outbox import Message, Outbox
from . import advice
from .options import BrokerOptions
from .tls import tls_context

__all__ = ["MQTT_5", "MQTT_311", "Cause", "Connection", "Ending"]

MQTT_5, MQTT_311 = "5", "3.1.1"

#: How long a turn waits while nothing happens, in seconds.
_TICK_S = 0.1
_CONNECT_TIMEOUT_S = 3.0
#: How long a broker may think about MQTT 5's CONNECT. One without MQTT 5 may misread it and wait for more (amqtt 0.12
#: does); 3.1.1 follows then, with the keep-alive as its limit, so a slow broker is not lost.
_ANSWER_TIMEOUT_S = 2.0
#: Receipts that are waited for at a time: what every broker can be expected to allow (HiveMQ's default). MQTT 5
#: brokers say their number, but only once connected, when paho does not take it any more.
_MAX_IN_FLIGHT = 10
#: What paho 2.0 and 2.1 raise when the other side does not speak MQTT (2.2 returns an error code).
_GARBAGE = (struct.error, LookupError, ValueError, MQTTException)


class Cause(Enum):
    """Why there is no connection (any more)."""

    UNREACHABLE = "no connection, or TLS broke"
    SILENT = "closed, or nothing came, before the broker answered to CONNECT"
    VERSION = "the broker does not speak this version of MQTT"
    REFUSED = "the broker answered to CONNECT with another refusal"
    LOST = "an accepted connection ended"


@dataclass(frozen=True)
class Ending:
    """How a connection ended."""

    cause: Cause
    #: The broker's word for it; "" without one.
    reason: str
    #: For the log, with what to do.
    sentence: str


class Connection:
    """A connection under way: call :meth:`turn` until it returns False, then :meth:`ending`. One thread.

    That thread drives paho's network code itself. With paho's own thread (loop_start) an exception in it
    would end it while is_connected() stays true; here it reaches the caller.
    """

    def __init__(
        self,
        options: BrokerOptions,
        protocol: str,
        prefix: str,
        on_denied: Callable[[str, str], None],
        will: Optional[Message] = None,
    ) -> None:
        """Connect the socket, shake hands where it is TLS, and send CONNECT; a few seconds at most.

        :param protocol: MQTT_5 or MQTT_311.
        :param prefix: what the user has to be allowed to write to, for messages.
        :param on_denied: called in turn() with the topic of a QoS 1 message that the broker did not take and its
            reason. Only MQTT 5 tells that.
        :raises SightdError: it can't be done, or a file for TLS can't be used; for the log, with what to do.
        """
        self._options, self._protocol, self._prefix, self._on_denied = options, protocol, prefix, on_denied
        #: The broker's answer to CONNECT, and its DISCONNECT's reason, once they came.
        self._answer: Optional[ReasonCode] = None
        self._farewell = ""
        self._tls_failure = ""
        #: QoS 1 messages without a receipt, by paho's number.
        self._in_flight: Dict[int, str] = {}
        self._client = self._make_client(will)
        try:
            self._client.connect(options.host, options.port, options.keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: not a host name
            raise SightdError(advice.unreachable(options, str(error))) from error
        self._give_up_at = time.monotonic() + (_ANSWER_TIMEOUT_S if protocol == MQTT_5 else math.inf)

    @property
    def accepted(self) -> bool:
        """Whether the broker has answered to CONNECT that it takes us."""
        return self._answer is not None and not self._answer.is_failure

    @property
    def congested(self) -> bool:
        """Whether bytes wait because the network or the broker is slow."""
        return self._client.want_write()

    @property
    def unacknowledged(self) -> int:
        """QoS 1 messages that the broker has not sent a receipt for."""
        return len(self._in_flight)

    def turn(self, outbox: Optional[Outbox] = None) -> bool:
        """Wait a moment for the network, or for *outbox* to hold something; do the network's work. False: it ended."""
        connection = self._client.socket()
        if connection is None or (self._answer is None and time.monotonic() > self._give_up_at):
            return False
        poll = select.poll()
        poll.register(connection, select.POLLIN | (select.POLLOUT if self.congested else 0))
        if outbox is not None:
            poll.register(outbox, select.POLLIN)
        ready = dict(poll.poll(_TICK_S * 1000)).get(connection.fileno(), 0)
        if ready & ~select.POLLOUT and not self._read(connection):
            return False
        if ready & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        return self._client.socket() is not None

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Hand a message to the network; False: the connection has ended."""
        sent = self._client.publish(topic, payload, qos, retain)
        if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS and qos:
            self._in_flight[sent.mid] = topic
        return sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def ending(self) -> Ending:
        """Why it ended."""
        options, reason = self._options, str(self._answer or "")
        if self._tls_failure and not self.accepted:
            return Ending(Cause.UNREACHABLE, "", advice.unreachable(options, self._tls_failure))
        if self._answer is None:
            return Ending(Cause.SILENT, "", advice.silent(options))
        if self._answer.is_failure:
            cause = Cause.VERSION if reason == "Unsupported protocol version" else Cause.REFUSED
            return Ending(cause, reason, advice.refused(options, reason, self._prefix))
        return Ending(Cause.LOST, self._farewell, advice.ended(options, self._farewell, self._prefix))

    def disconnect(self) -> None:
        """End it in an orderly way: there will be no will."""
        self._client.disconnect()
        self.cut()

    def cut(self) -> None:
        """Close the socket; the broker publishes the will. Idempotent."""
        connection = self._client.socket()
        if connection:
            connection.close()

    def _make_client(self, will: Optional[Message]) -> mqtt.Client:
        options = self._options
        # A new client each time: nothing stale is left in paho's own queues. It begins a clean session.
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            options.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._protocol == MQTT_5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(_MAX_IN_FLIGHT)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_socket_open = self._on_publish, _on_socket_open
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        if options.username:
            client.username_pw_set(options.username, options.password or None)
        if options.tls is not None:
            client.tls_set_context(tls_context(options.tls))
            client.on_log = self._on_log
        return client

    def _read(self, connection: Any) -> bool:
        try:
            self._client.loop_read()
            # What TLS has decrypted already makes no socket readable.
            while isinstance(connection, ssl.SSLSocket) and connection.pending():
                self._client.loop_read()
        except _GARBAGE:
            return False
        return True

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, answer: ReasonCode, properties: Any
    ) -> None:
        self._answer = answer

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server and reason.is_failure:  # paho < 2.2 misses it in a short packet
            self._farewell = str(reason)

    def _on_publish(self, client: mqtt.Client, userdata: Any, number: int, reason: ReasonCode, properties: Any) -> None:
        topic = self._in_flight.pop(number, None)
        if topic is not None and reason.is_failure:
            self._on_denied(topic, str(reason))

    def _on_log(self, client: mqtt.Client, userdata: Any, level: int, text: str) -> None:
        # The only place where paho tells what TLS says once hands are shaken: in 1.3 the verdict on our certificate.
        if level == LogLevel.MQTT_LOG_ERR and "[SSL" in text:
            self._tls_failure = text


def _on_socket_open(client: mqtt.Client, userdata: Any, connection: Any) -> None:
    # Nagle's algorithm holds a message back until the one before it is acknowledged: up to 40 ms each.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
