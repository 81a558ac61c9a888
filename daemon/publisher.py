"""The publisher: owns the connection to the MQTT broker, renews it for ever and sends what the outbox holds."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Dict, List, Optional, Set

from sightd.errors import SightdError

from .broker import BrokerOptions, advice
from .broker.connection import Connection, Inbox
from .broker.ending import Cause, Ending
from .broker.inflow import FLOODED
from .broker.lookout import Lookout
from .broker.options import Address
from .broker.route import Route
from .messages import OFFLINE, ONLINE, STOPPED
from .outbox import Message, Outbox
from .progress import Progress
from .repeats import Repeats
from .topics import Topics

__all__ = ["BrokerOptions", "Publisher"]

_log = logging.getLogger(__name__)

CONNECTING, CONNECTED, CLOSED = "connecting", "connected", "closed"

#: Messages handed to the network before it is looked at again.
_BURST = 100
#: A broker that says so to CONNECT does not keep our will.
_NO_WILL = ("QoS not supported", "Retain not supported")
#: Different sentences that are remembered so that none is logged again before the next connection.
_MOST_TOLD = 100


class Publisher:
    """Publishes on one thread: :meth:`run`, then :meth:`close`. Everything else may be read from any thread.

    Each connection starts with the newest of each state ever published, so that a broker that lost its
    memory has it back, and then says that we are available. Streams are dropped and counted while there
    is no connection: nobody wants old detections.
    """

    def __init__(self, options: BrokerOptions, topics: Topics, outbox: Outbox, inbox: Optional[Inbox] = None) -> None:
        """*options*: with the first broker's address and the fallbacks; *inbox*: what to subscribe to."""
        self._route = Route(options)
        self._lookout = Lookout(topics.prefix, options.look_s)
        self._inbox = inbox
        self._topics = topics
        self._outbox = outbox
        self._states: Dict[str, Message] = {}
        self._connection: Optional[Connection] = None
        self._told: Set[str] = set()
        self._repeats = Repeats()
        self._denials_told: Set[str] = set()
        #: Topic -> reason why what was last sent, or subscribed to, there was not taken; of this connection, in order.
        self._denying: Dict[str, str] = {}
        #: The broker that refused the last CONNECT because of the will.
        self._without_will: Optional[Address] = None
        #: Work is held only in a standing connection: a broker that is away is no lack of progress.
        self.progress = Progress()
        #: "connecting", "connected", "refused: <reason>" or "closed".
        self.state = CONNECTING
        #: Since when (monotonic) there has been a connection, or none, and the seconds without one before that.
        self._since, self._away_s = time.monotonic(), 0.0
        #: Messages handed to the connection, messages of streams dropped for want of a connection, connections made.
        self.published = 0
        self.dropped = 0
        self.connections = 0
        #: By reason: messages that the broker did not take, or that it takes none so large of; "<reason>: <topic>" of
        #: the last one. Only MQTT 5 tells, and of streams only the latter can be known.
        self.denials: Counter[str] = Counter()
        self.last_denial = ""
        #: By reason: refused attempts to connect, and "<reason>: <broker>" of the last one.
        self.refusals: Counter[str] = Counter()
        self.last_refusal = ""

    @property
    def connected(self) -> bool:
        """Whether the broker accepted us and the connection is not known to be lost."""
        return self.state == CONNECTED

    @property
    def denied(self) -> int:
        """Messages that the broker did not take, in all."""
        return sum(self.denials.values())

    @property
    def denies(self) -> str:
        """What it does not take now, "<reason>: <topic>" of the newest; "" where nothing is known that it does not.

        That of a topic is over when something is taken there, and all of it with the connection.
        """
        denying = dict(self._denying) if self.connected else {}  # a copy: it may change while another thread asks
        newest = list(denying.items())[-1:]
        return "".join(f"{reason}: {topic}" for topic, reason in newest)

    @property
    def broker(self) -> str:
        """``host:port`` of the broker that we are connected to, or that is tried."""
        return str(self._route.options.address)

    @property
    def state_s(self) -> float:
        """Seconds for which it has been connected, or has not."""
        return time.monotonic() - self._since

    @property
    def away_s(self) -> float:
        """Seconds without a connection since the start, in all."""
        return self._away_s + (0.0 if self.connected else self.state_s)

    def run(self, stop: threading.Event) -> None:
        """Connect and publish until *stop* is set; whatever the brokers do, try again.

        The connection is left open for :meth:`close`.
        """
        while not stop.is_set():
            started = time.monotonic()
            ending = self._attempt(stop)
            if ending is not None:
                tried = self._route.options
                pause_s = self._route.after(ending, time.monotonic() - started)
                if pause_s is not None:
                    self._lament(ending, tried)
                    stop.wait(pause_s)

    def close(self, deadline_s: float = 2.0) -> None:
        """Send what waits, say that we stopped, wait for the broker's receipt and disconnect; *deadline_s* at most.

        On run()'s thread or after it ended. Without the receipt the connection is cut instead, so that
        the broker publishes the will. Idempotent.
        """
        started = time.monotonic()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._say_goodbye(connection, started, deadline_s)
            connection.cut()
        self._tell(CLOSED, f"{self._route.options}: closed", logging.INFO)

    def _attempt(self, stop: threading.Event) -> Optional[Ending]:
        """Connect and publish until the connection ends or *stop* is set; None: it still stands, or we left."""
        self._absorb()
        options, protocol, prefix = self._route.options, self._route.protocol, self._topics.prefix
        will = Message(self._topics.available, OFFLINE, retain=True)
        try:
            connection = Connection(
                options,
                protocol,
                prefix,
                self._on_receipt,
                None if options.address == self._without_will else will,
                inbox=self._inbox,
                on_inbox=self._on_inbox,
                on_unheard=self._on_unheard,
            )
        except SightdError as error:
            return Ending(Cause.UNREACHABLE, "", str(error))
        self._connection = connection
        while not stop.is_set():
            self.progress.step(holding=True)
            stands = self._turn(connection)
            self.progress.step(holding=False)
            self._write(self._repeats.held(time.monotonic()), logging.INFO if self.connected else logging.WARNING)
            if not stands:
                connection.cut()
                self._connection = None
                return connection.ending()
            if self._route.stands_in and self._lookout.is_back(self._route.first):
                connection.cut()  # its will says that we are not there any more
                self._connection = None
                self._lookout.reset()
                self._route.return_to_first()
                self._tell(CONNECTING, f"{self._route.options} is back: leaving {options} for it", logging.INFO)
                return None
        return None

    def _turn(self, connection: Connection) -> bool:
        """Wait for the network or the outbox, then move what is ready. False: the connection is lost."""
        # Bytes unsent, a slow broker: the outbox keeps its messages meanwhile, and drops the oldest when it is full.
        sending = self.connected and not connection.congested
        if not connection.turn(self._outbox if sending else None):
            return False
        if not self.connected and connection.accepted:
            self._greet(connection)
        elif sending:
            # States come from the outbox as they are put; only events have to wait for a place.
            for message in self._take(connection.room, connection.heard_at):
                self._publish(connection, message)
        return True

    def _greet(self, connection: Connection) -> None:
        self.connections += 1
        self._without_will = None
        self._told.clear()
        self._denials_told.clear()
        self._denying.clear()
        self._lookout.reset()
        self._tell(CONNECTED, f"{self._route.options}: connected, MQTT {self._route.protocol}", logging.INFO)
        if connection.limits.shortcomings:
            _log.warning("%s: has no %s", self._route.options, connection.limits.shortcomings)
        self._absorb()
        self._outbox.events.begin()
        for message in [*self._states.values(), Message(self._topics.available, ONLINE, retain=True)]:
            self._publish(connection, message)

    def _publish(self, connection: Connection, message: Message) -> None:
        if not message.qos:
            self._denying.pop(message.topic, None)  # no receipt will tell; what is too large says so now
        if connection.publish(message):
            self.published += 1
        elif not message.qos:
            self.dropped += 1

    def _on_receipt(self, message: Message, reason: str) -> None:
        if message.seq:
            self._outbox.events.receipt(message, reason)
        if reason:
            sentence = advice.denied(self._route.options, message.topic, reason, self._topics.prefix)
            self._note_denial(message.topic, reason, sentence)
        else:
            self._denying.pop(message.topic, None)

    def _on_unheard(self, message: Message) -> None:
        self._denying.pop(message.topic, None)
        if message.seq:
            self._outbox.events.unheard(message)

    def _on_inbox(self, reason: str) -> None:
        options, topic_filter = self._route.options, self._inbox.topic_filter if self._inbox else ""
        if reason == FLOODED:
            self._note_denial(topic_filter, reason, advice.flooded(options, topic_filter))
        elif reason:
            self._note_denial(topic_filter, reason, advice.deaf(options, topic_filter, reason))
        else:
            self._denying.pop(topic_filter, None)

    def _note_denial(self, topic: str, reason: str, sentence: str) -> None:
        self.denials[reason] += 1
        self.last_denial = f"{reason}: {topic}"
        self._denying.pop(topic, None)
        self._denying[topic] = reason
        if reason not in self._denials_told:
            self._denials_told.add(reason)
            _log.warning("%s", sentence)

    def _take(self, events: int = 0, heard_at: float = 0.0) -> List[Message]:
        """The next messages of the outbox; their states are remembered for the next connection."""
        messages = self._outbox.take(_BURST, events, heard_at)
        self._states.update((message.topic, message) for message in messages if message.retain)
        return messages

    def _absorb(self) -> None:
        """Empty the outbox without a connection; events stay there."""
        while True:
            messages = self._take()
            if not messages:
                return
            self.dropped += sum(not message.retain for message in messages)

    def _say_goodbye(self, connection: Connection, started: float, deadline_s: float) -> None:
        while self.connected and len(self._outbox) and time.monotonic() < started + deadline_s / 2:
            if not self._turn(connection):
                return
        # The other half of the time is for saying that we stopped.
        if not self.connected or not connection.publish(Message(self._topics.available, STOPPED, retain=True)):
            return
        while time.monotonic() < started + deadline_s and connection.turn():
            if not connection.unacknowledged:
                connection.disconnect()
                return

    def _lament(self, ending: Ending, tried: BrokerOptions) -> None:
        if ending.cause not in (Cause.REFUSED, Cause.VERSION):
            self._tell(CONNECTING, ending.sentence)
            return
        self._without_will = tried.address if ending.reason in _NO_WILL else None
        self.refusals[ending.reason] += 1
        self.last_refusal = f"{ending.reason}: {tried.address}"
        self._tell(f"refused: {ending.reason}", ending.sentence)

    def _tell(self, state: str, sentence: str, level: int = logging.WARNING) -> None:
        """Change the state; log *sentence* once a connection (a broker may be away for months), less where many end."""
        if (state == CONNECTED) != self.connected:
            away_s, self._since = self.away_s, time.monotonic()
            self._away_s = away_s
        self.state = state
        if sentence not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(sentence)
            self._write(self._repeats.said(sentence, time.monotonic()), level)

    def _write(self, text: str, level: int) -> None:
        if text:
            _log.log(level, "%s", text)
