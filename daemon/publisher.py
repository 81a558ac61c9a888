"""The publisher: owns the connection to the MQTT broker, renews it for ever and sends what the outbox holds."""

from __future__ import annotations

import logging
import random
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from .messages import OFFLINE, ONLINE, STOPPED
from .outbox import Message, Outbox
from .topics import Topics

__all__ = ["BrokerOptions", "Publisher"]

_log = logging.getLogger(__name__)

CONNECTING, CONNECTED, CLOSED = "connecting", "connected", "closed"

#: How often the loop looks at its stop event while nothing happens, in seconds.
_TICK_S = 0.1
#: Messages handed to paho before it looks at the network again.
_BURST = 100
_CONNECT_TIMEOUT_S = 3.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 4.0
#: What paho 2.0 and 2.1 raise when the other side does not speak MQTT (2.2 returns an error code).
_GARBAGE = (struct.error, LookupError, ValueError)

_ADVICE = {
    "Bad user name or password": "check the user name and the password",
    "Not authorized": "check the user name, the password, and that the broker's ACL lets this user write to {prefix}/#",
    "Client identifier not valid": "choose another client id",
    "Server unavailable": "look at the broker's log",
}


@dataclass(frozen=True)
class BrokerOptions:
    """Where the broker is and who we are."""

    host: str = "localhost"
    port: int = 1883
    #: "" connects anonymously.
    username: str = ""
    password: str = field(default="", repr=False)
    #: Unique at the broker: a second client with the same id throws the first one out.
    client_id: str = "sightd"
    #: A connection that died silently is noticed after twice this long.
    keepalive_s: int = 10


class Publisher:
    """Publishes on one thread: :meth:`run`, then :meth:`close`. Everything else may be read from any thread.

    That thread drives paho's network code itself. With paho's own thread (loop_start) an exception in it
    would end it while is_connected() stays true; here it ends run().

    Each connection starts with the newest of each state ever published, so that a broker that lost its
    memory has it back, and then says that we are available. Streams are dropped and counted while there
    is no connection: nobody wants old detections.
    """

    def __init__(self, options: BrokerOptions, topics: Topics, outbox: Outbox) -> None:
        self._options = options
        self._topics = topics
        self._outbox = outbox
        self._states: Dict[str, Message] = {}
        self._client: Optional[mqtt.Client] = None
        #: The broker's answer to this connection's CONNECT, once it came.
        self._answer: Optional[ReasonCode] = None
        self._told = ""
        #: "connecting", "connected", "refused: <reason>" or "closed".
        self.state = CONNECTING
        #: Messages handed to the network, messages of streams dropped for want of a connection, connections made.
        self.published = 0
        self.dropped = 0
        self.connections = 0

    @property
    def connected(self) -> bool:
        """Whether the broker accepted us and the connection is not known to be lost."""
        return self.state == CONNECTED

    def run(self, stop: threading.Event) -> None:
        """Connect and publish until *stop* is set; whatever the broker does, try again.

        The connection is left open for :meth:`close`.
        """
        pauses = _pauses()
        while not stop.is_set():
            started = time.monotonic()
            self._connect()
            while self._client is not None and not stop.is_set():
                self._turn(self._client)
            if time.monotonic() - started > 2 * _LONGEST_PAUSE_S:
                pauses = _pauses()  # it held; one that breaks at once again and again is not hurried after
            stop.wait(next(pauses))

    def close(self, deadline_s: float = 2.0) -> None:
        """Send what waits, say that we stopped, wait for the broker's receipt and disconnect; *deadline_s* at most.

        On run()'s thread or after it ended. Without the receipt the connection is cut instead, so that
        the broker publishes the will. Idempotent.
        """
        started = time.monotonic()
        while self._client is not None and self.connected and len(self._outbox):
            if time.monotonic() > started + deadline_s / 2:
                break  # the other half is for saying that we stopped
            self._turn(self._client)
        if self._client is not None and self.connected:
            self._say_stopped(self._client, started + deadline_s)
        self._hang_up()
        self._tell(CLOSED, f"{self._broker}: closed", logging.INFO)

    def _connect(self) -> None:
        options = self._options
        self._answer = None
        self._absorb()
        # A new client each time: nothing stale is left in paho's own queues.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, options.client_id, reconnect_on_failure=False)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_socket_open = _on_socket_open
        client.will_set(self._topics.available, OFFLINE, qos=1, retain=True)
        if options.username:
            client.username_pw_set(options.username, options.password or None)
        try:
            client.connect(options.host, options.port, options.keepalive_s)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a host name
            self._tell(CONNECTING, f"{self._broker} can't be reached ({error}): start it or correct its address")
        else:
            self._client = client

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, answer: ReasonCode, properties: Any
    ) -> None:
        self._answer = answer

    def _turn(self, client: mqtt.Client) -> None:
        """Wait for the network or the outbox, then move what is ready."""
        # Bytes unsent, a slow broker: the outbox keeps its messages meanwhile, and drops the oldest when it is full.
        sending = self.connected and not client.want_write()
        if not _exchange(client, self._outbox if sending else None):
            self._lose()
        elif not self.connected and client.is_connected():
            self._greet(client)
        elif sending:
            for message in self._take():
                self._publish(client, message)

    def _greet(self, client: mqtt.Client) -> None:
        self.connections += 1
        self._tell(CONNECTED, f"{self._broker}: connected", logging.INFO)
        self._absorb()
        for message in [*self._states.values(), Message(self._topics.available, ONLINE, retain=True)]:
            self._publish(client, message)

    def _publish(self, client: mqtt.Client, message: Message) -> None:
        sent = client.publish(message.topic, message.payload, message.qos, message.retain)
        if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.published += 1
        elif not message.retain:
            self.dropped += 1

    def _take(self) -> List[Message]:
        """The next messages of the outbox; their states are remembered for the next connection."""
        messages = self._outbox.take(_BURST)
        self._states.update((message.topic, message) for message in messages if message.retain)
        return messages

    def _absorb(self) -> None:
        """Empty the outbox without a connection."""
        while len(self._outbox):
            self.dropped += sum(not message.retain for message in self._take())

    def _say_stopped(self, client: mqtt.Client, deadline: float) -> None:
        receipt = client.publish(self._topics.available, STOPPED, qos=1, retain=True)
        while time.monotonic() < deadline:
            self._turn(client)
            if self._client is None:
                return
            if receipt.is_published():
                client.disconnect()
                return

    def _lose(self) -> None:
        """Say why this connection ended and forget it."""
        answer = self._answer
        if answer is not None and answer.is_failure:
            advice = _ADVICE.get(str(answer), "look at the broker's log").format(prefix=self._topics.prefix)
            self._tell(f"refused: {answer}", f"{self._broker} refuses us ({answer}): {advice}")
        elif answer is not None:
            again = f"if this repeats, look for another client with the id {self._options.client_id!r}"
            self._tell(CONNECTING, f"{self._broker}: connection lost, trying again; {again}")
        else:
            self._tell(CONNECTING, f"{self._broker} hung up or gave no answer: is it alive, and for MQTT 3.1.1?")
        self._hang_up()

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        connection = client and client.socket()
        if connection:
            connection.close()

    def _tell(self, state: str, sentence: str, level: int = logging.WARNING) -> None:
        """Change the state; log *sentence* unless it was the last one (a broker may be away for months)."""
        self.state = state
        if sentence != self._told:
            _log.log(level, "%s", sentence)
            self._told = sentence

    @property
    def _broker(self) -> str:
        user = f" as {self._options.username!r}" if self._options.username else ""
        return f"MQTT broker {self._options.host}:{self._options.port}{user}"


def _pauses() -> Iterator[float]:
    """Seconds between attempts: doubling, with jitter so that a site's daemons don't all come back at once."""
    pause_s = _SHORTEST_PAUSE_S
    while True:
        yield pause_s * random.uniform(1.0, 1.25)  # noqa: S311 - no secret depends on it
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _exchange(client: mqtt.Client, outbox: Optional[Outbox]) -> bool:
    """Wait for the connection, or for *outbox* to hold something; do the connection's work. False: it is lost."""
    connection = client.socket()
    if connection is None:
        return False
    poll = select.poll()
    poll.register(connection, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
    if outbox is not None:
        poll.register(outbox, select.POLLIN)
    ready = dict(poll.poll(_TICK_S * 1000)).get(connection.fileno(), 0)
    if ready & ~select.POLLOUT:
        try:
            client.loop_read()
        except _GARBAGE:
            return False
    if ready & select.POLLOUT:
        client.loop_write()
    client.loop_misc()
    return client.socket() is not None


def _on_socket_open(client: mqtt.Client, userdata: Any, connection: Any) -> None:
    # Nagle's algorithm holds a message back until the one before it is acknowledged: up to 40 ms each.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
