"""The publisher: owns the connection to the MQTT broker, renews it for ever and sends what the outbox holds."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Dict, Iterator, List, Optional, Set

from sightd.errors import SightdError

from .broker import BrokerOptions, advice
from .broker.connection import Connection
from .broker.ending import Cause, Ending
from .broker.protocol_choice import ProtocolChoice
from .messages import OFFLINE, ONLINE, STOPPED
from .outbox import Message, Outbox
from .progress import Progress
from .topics import Topics

__all__ = ["BrokerOptions", "Publisher"]

_log = logging.getLogger(__name__)

CONNECTING, CONNECTED, CLOSED = "connecting", "connected", "closed"

#: Messages handed to the network before it is looked at again.
_BURST = 100
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 4.0


class Publisher:
    """Publishes on one thread: :meth:`run`, then :meth:`close`. Everything else may be read from any thread.

    Each connection starts with the newest of each state ever published, so that a broker that lost its
    memory has it back, and then says that we are available. Streams are dropped and counted while there
    is no connection: nobody wants old detections.
    """

    def __init__(self, options: BrokerOptions, topics: Topics, outbox: Outbox) -> None:
        self._options = options
        self._topics = topics
        self._outbox = outbox
        self._states: Dict[str, Message] = {}
        self._connection: Optional[Connection] = None
        self._choice = ProtocolChoice()
        self._told = ""
        self._denials_told: Set[str] = set()
        #: Work is held only in a standing connection: a broker that is away is no lack of progress.
        self.progress = Progress()
        #: "connecting", "connected", "refused: <reason>" or "closed".
        self.state = CONNECTING
        #: Messages handed to the network, messages of streams dropped for want of a connection, connections made.
        self.published = 0
        self.dropped = 0
        self.connections = 0
        #: States that the broker did not take and "<reason>: <topic>" of the last one. Only MQTT 5 tells, and only
        #: of states: whether a stream's messages are taken can't be known.
        self.denied = 0
        self.last_denial = ""

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
            ending = self._attempt(stop)
            if time.monotonic() - started > 2 * _LONGEST_PAUSE_S:
                pauses = _pauses()  # it held; one that breaks at once again and again is not hurried after
            if ending is not None and not self._choice.after(ending.cause):
                self._lament(ending)
                stop.wait(next(pauses))

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
        self._tell(CLOSED, f"{self._options}: closed", logging.INFO)

    def _attempt(self, stop: threading.Event) -> Optional[Ending]:
        """Connect and publish until the connection ends or *stop* is set; None: it still stands."""
        self._absorb()
        will = Message(self._topics.available, OFFLINE, retain=True)
        prefix = self._topics.prefix
        try:
            connection = Connection(self._options, self._choice.protocol, prefix, self._on_receipt, will)
        except SightdError as error:
            return Ending(Cause.UNREACHABLE, "", str(error))
        self._connection = connection
        while not stop.is_set():
            self.progress.step(holding=True)
            stands = self._turn(connection)
            self.progress.step(holding=False)
            if not stands:
                connection.cut()
                self._connection = None
                return connection.ending()
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
        self._denials_told.clear()
        self._tell(CONNECTED, f"{self._options}: connected, MQTT {self._choice.protocol}", logging.INFO)
        self._absorb()
        self._outbox.events.begin()
        for message in [*self._states.values(), Message(self._topics.available, ONLINE, retain=True)]:
            self._publish(connection, message)

    def _publish(self, connection: Connection, message: Message) -> None:
        if connection.publish(message):
            self.published += 1
        elif not message.qos:
            self.dropped += 1

    def _on_receipt(self, message: Message, reason: str) -> None:
        if message.seq:
            self._outbox.events.receipt(message, reason)
        if reason:
            self._on_denied(message.topic, reason)

    def _on_denied(self, topic: str, reason: str) -> None:
        self.denied += 1
        self.last_denial = f"{reason}: {topic}"
        if reason not in self._denials_told:
            self._denials_told.add(reason)
            _log.warning("%s", advice.denied(self._options, topic, reason, self._topics.prefix))

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

    def _lament(self, ending: Ending) -> None:
        refused = ending.cause in (Cause.REFUSED, Cause.VERSION)
        self._tell(f"refused: {ending.reason}" if refused else CONNECTING, ending.sentence)

    def _tell(self, state: str, sentence: str, level: int = logging.WARNING) -> None:
        """Change the state; log *sentence* unless it was the last one (a broker may be away for months)."""
        self.state = state
        if sentence != self._told:
            _log.log(level, "%s", sentence)
            self._told = sentence


def _pauses() -> Iterator[float]:
    """Seconds between attempts: doubling, with jitter so that a site's daemons don't all come back at once."""
    pause_s = _SHORTEST_PAUSE_S
    while True:
        yield pause_s * random.uniform(1.0, 1.25)  # noqa: S311 - no secret depends on it
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
