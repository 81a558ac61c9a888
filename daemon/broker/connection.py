"""One connection to the broker, from CONNECT to its end."""

from __future__ import annotations

import select
import ssl
import struct
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, List, Optional

import paho.mqtt.client as mqtt
from paho.mqtt.enums import LogLevel, MQTTErrorCode
from paho.mqtt.properties import MQTTException  # type: ignore[attr-defined] # paho 2.0 and 2.1 raise their own
from paho.mqtt.reasoncodes import ReasonCode

from sightd.errors import SightdError

from ..outbox import Message, Outbox
from . import advice
from .client import LARGEST_INCOMING, MQTT_5, MQTT_311, connect, new_client
from .ending import Cause, Ending
from .inflow import FLOODED, Inflow
from .limits import TOO_LARGE, Limits
from .options import BrokerOptions
from .window import Window

__all__ = ["MQTT_5", "MQTT_311", "Connection", "Inbox"]

#: How long a turn waits while nothing happens, in seconds.
_TICK_S = 0.1
#: Packets that are read in a turn, once accepted: what is waited for may come behind many commands.
_MOST_READ = 200
#: How long a broker may think about MQTT 5's CONNECT. One without MQTT 5 may misread it and wait for more (amqtt 0.12
#: does); 3.1.1 follows then, with the keep-alive as its limit, so a slow broker is not lost.
_ANSWER_TIMEOUT_S = 2.0
#: paho asks after a keep-alive of silence and waits for as long: with this share of it both, and our ticks, fit in two.
_HASTE = 0.9
#: What paho 2.0 and 2.1 raise when the other side does not speak MQTT (2.2 returns an error code).
_GARBAGE = (struct.error, LookupError, ValueError, MQTTException)


@dataclass(frozen=True)
class Inbox:
    """What is subscribed to, with QoS 0 (an old command is no command), and who gets it."""

    topic_filter: str
    #: Called in turn() with topic, payload, and whether the broker had kept it from before.
    on_message: Callable[[str, bytes, bool], None]


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
        on_receipt: Callable[[Message, str], None],
        will: Optional[Message] = None,
        *,
        inbox: Optional[Inbox] = None,
        on_inbox: Optional[Callable[[str], None]] = None,
        on_unheard: Optional[Callable[[Message], None]] = None,
    ) -> None:
        """Connect the socket, shake hands where it is TLS, and send CONNECT; a few seconds at most.

        :param protocol: MQTT_5 or MQTT_311.
        :param prefix: what the user has to be allowed to write to, for messages.
        :param on_receipt: called in turn() and publish() with a QoS 1 message and "" when the broker took it, or its
            reason why not, which only MQTT 5 tells; and with any message that was not sent, and why.
        :param inbox: what to subscribe to; *on_inbox* is called in turn() with "" when the broker lets us, its reason
            where it does not, and FLOODED when so much comes that we do without for a while.
        :param on_unheard: called instead of *on_receipt* with one that the broker took, but nobody subscribed to, which
            only MQTT 5 tells.
        :raises SightdError: it can't be done, or a file for TLS or the password can't be used; for the log, with what
            to do.
        """
        self._options, self._protocol, self._prefix, self._on_receipt = options, protocol, prefix, on_receipt
        self._inbox, self._inflow = inbox, Inflow()
        self._on_inbox, self._on_unheard = on_inbox, on_unheard
        #: The broker's answer to CONNECT, and its DISCONNECT's reason, once they came.
        self._answer: Optional[ReasonCode] = None
        self._farewell = self._reference = self._tls_failure = ""
        #: When something came from the broker last (monotonic seconds).
        self.heard_at = 0.0
        #: What the broker takes; known once accepted.
        self.limits = Limits()
        self._window = Window()
        #: Calls to make once paho, which holds its locks while it calls us, is done.
        self._news: List[Callable[[], None]] = []
        self._client = self._listen(new_client(options, protocol, will))
        try:
            connect(self._client, options, protocol)
        except (OSError, ValueError) as error:  # ValueError: not a host name
            raise SightdError(advice.unreachable(options, str(error))) from error
        patience_s = _ANSWER_TIMEOUT_S if protocol == MQTT_5 else max(_ANSWER_TIMEOUT_S, options.keepalive_s)
        self._give_up_at = time.monotonic() + patience_s

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
        """QoS 1 messages that the broker has not sent a receipt for, those that wait to be sent included."""
        return len(self._window)

    @property
    def room(self) -> int:
        """QoS 1 messages that would be sent at once."""
        return max(0, self.limits.in_flight - self.unacknowledged)

    def turn(self, outbox: Optional[Outbox] = None) -> bool:
        """Wait a moment for the network, or for *outbox* to hold something; do the network's work. False: it ended."""
        connection = self._client.socket()
        if connection is None or self._is_stuck():
            return False
        poll = select.poll()
        poll.register(connection, select.POLLIN | (select.POLLOUT if self.congested else 0))
        if outbox is not None:
            poll.register(outbox, select.POLLIN)
        ready = dict(poll.poll(_TICK_S * 1000)).get(connection.fileno(), 0)
        understood = not ready & ~select.POLLOUT or self._read(connection)
        self._tell()
        if not understood:
            return False
        if ready & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        if self._inflow.may_reopen(time.monotonic()):
            self._subscribe()
        return self._send_line() and self._client.socket() is not None

    def publish(self, message: Message) -> bool:
        """Hand *message* to the network, or put it in line for it; False: the connection has ended."""
        if self.limits.forbid(message):
            self._on_receipt(message, TOO_LARGE)
            return True
        if not message.qos:
            return self._send(message, 0)
        self._window.append(message)
        return self._send_line()

    def ending(self) -> Ending:
        """Why it ended."""
        options, reason = self._options, str(self._answer or "")
        if self._tls_failure and not self.accepted:
            return Ending(Cause.UNREACHABLE, "", advice.unreachable(options, self._tls_failure))
        if self._answer is None:
            return Ending(Cause.SILENT, "", advice.silent(options))
        if self._answer.is_failure:
            cause = Cause.VERSION if reason == "Unsupported protocol version" else Cause.REFUSED
            return Ending(
                cause, reason, advice.refused(options, reason, self._prefix, self._reference), self._reference
            )
        if self._is_stuck() and not self._farewell:
            return Ending(Cause.LOST, "", advice.stuck(options))
        sentence = advice.ended(options, self._farewell, self._prefix, self._reference)
        return Ending(Cause.LOST, self._farewell, sentence, self._reference)

    def disconnect(self) -> None:
        """End it in an orderly way: there will be no will."""
        self._client.disconnect()
        self.cut()

    def cut(self) -> None:
        """Close the socket; the broker publishes the will. Idempotent."""
        connection = self._client.socket()
        if connection:
            connection.close()

    def _listen(self, client: mqtt.Client) -> mqtt.Client:
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_subscribe = self._on_publish, self._on_subscribe
        client.on_message = self._on_message
        if self._options.tls is not None:
            client.on_log = self._on_log
        return client

    def _is_stuck(self) -> bool:
        """Whether the broker's answer, or a receipt, has not come in time, though the connection stands."""
        now = time.monotonic()
        if self._answer is None:
            return now > self._give_up_at
        sent_at = self._window.oldest_sent_at
        return sent_at is not None and now - sent_at > 2 * self._options.keepalive_s

    def _send_line(self) -> bool:
        """Send what waits for a place, as far as the broker has promised receipts; False: the connection has ended."""
        while True:
            message = self._window.next(self.limits.in_flight)
            if message is None:
                return True
            if not self._send(message, self.limits.qos):
                return False

    def _send(self, message: Message, qos: int) -> bool:
        retain = message.retain and self.limits.retain
        sent = self._client.publish(message.topic, message.payload, qos, retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if qos:
            self._window.sent(sent.mid, message, time.monotonic())
        elif message.qos:
            self._on_receipt(message, "")  # this broker gives none
        return True

    def _read(self, connection: Any) -> bool:
        """Take what has come. False: it makes no sense, or is larger than anything that a broker has to say."""
        self.heard_at = time.monotonic()
        try:
            for _ in range(_MOST_READ if self.accepted else 1):
                self._client.loop_read()
                if self._client.socket() is None or not _has_more(connection):
                    break
        except _GARBAGE:
            return False
        # paho would gather up to 256 MB. In MQTT 3.1.1 nothing else limits what somebody publishes for us.
        return self._client._in_packet["remaining_length"] <= LARGEST_INCOMING

    def _subscribe(self) -> None:
        if self._inbox is not None:
            self._client.subscribe(self._inbox.topic_filter, qos=0)

    def _unsubscribe(self) -> None:
        if self._inbox is not None:
            self._client.unsubscribe(self._inbox.topic_filter)
        if self._on_inbox is not None:
            self._on_inbox(FLOODED)

    def _tell(self) -> None:
        news, self._news = self._news, []
        for call in news:
            call()

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.ConnectFlags, answer: ReasonCode, properties: Any
    ) -> None:
        self._answer, self._reference = answer, getattr(properties, "ServerReference", "")
        self.limits = Limits.told(properties)
        # A broker may want to hear from us more often, which paho obeys from 2.2 on; one that is content with less
        # must not keep us from noticing that it is gone. There is no other way to tell paho while it is connected.
        wanted_s = getattr(properties, "ServerKeepAlive", 0) or self._options.keepalive_s
        client._keepalive = min(wanted_s, self._options.keepalive_s) * _HASTE  # type: ignore[assignment]
        if self.accepted:
            self._subscribe()

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: mqtt.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server and reason.is_failure:  # paho < 2.2 misses it in a short packet
            self._farewell, self._reference = str(reason), getattr(properties, "ServerReference", "")

    def _on_publish(self, client: mqtt.Client, userdata: Any, number: int, reason: ReasonCode, properties: Any) -> None:
        message = self._window.receipt(number)
        if message is not None and self._on_unheard is not None and reason == "No matching subscribers":
            self._news.append(partial(self._on_unheard, message))
        elif message is not None:
            self._news.append(partial(self._on_receipt, message, str(reason) if reason.is_failure else ""))

    def _on_subscribe(
        self, client: mqtt.Client, userdata: Any, number: int, reasons: List[ReasonCode], properties: Any
    ) -> None:
        for reason in reasons:
            if self._on_inbox is not None:
                self._news.append(partial(self._on_inbox, str(reason) if reason.is_failure else ""))

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        if self._inbox is not None:
            self._news.append(partial(self._inbox.on_message, message.topic, bytes(message.payload), message.retain))
        if self._inflow.is_too_much(time.monotonic()):
            self._news.append(self._unsubscribe)

    def _on_log(self, client: mqtt.Client, userdata: Any, level: int, text: str) -> None:
        # The only place where paho tells what TLS says once hands are shaken: in 1.3 the verdict on our certificate.
        if level == LogLevel.MQTT_LOG_ERR and "[SSL" in text:
            self._tls_failure = text


def _has_more(connection: Any) -> bool:
    """Whether there is something to read at once; what TLS has decrypted already makes no socket readable."""
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
