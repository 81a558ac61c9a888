"""The queue between whoever has something to say and the publisher: bounded, in memory, never blocking."""

from __future__ import annotations

import socket
import threading
from collections import deque
from dataclasses import dataclass
from typing import Deque, Dict, List

__all__ = ["Message", "Outbox"]


@dataclass(frozen=True)
class Message:
    """One MQTT message."""

    topic: str
    payload: bytes
    #: True for a state: kept by the broker, sent with QoS 1, and only the newest of its topic counts.
    #: False for one of a stream: QoS 0, worthless when late.
    retain: bool = False
    #: Of an event: its number from :meth:`Outbox.next_seq`, which its payload tells too. Sent with QoS 1; each counts.
    seq: int = 0

    @property
    def qos(self) -> int:
        """MQTT's quality of service: 0 for a stream, else 1."""
        return 1 if self.retain or self.seq else 0


class Outbox:
    """Messages that wait to be published; any thread puts, one takes.

    Of a state only the newest waits. Of streams at most *capacity* messages wait; when it is full the
    oldest is dropped and counted.

    An outbox can be waited for together with sockets (select, poll): it is readable while it holds something.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._stream: Deque[Message] = deque()
        self._states: Dict[str, Message] = {}
        self._lock = threading.Lock()
        self._bell_reader, self._bell_writer = socket.socketpair()
        self._rung = False
        self._seq = 0
        #: Messages dropped because the outbox was full.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._stream) + len(self._states)

    def put(self, message: Message) -> None:
        """Add *message*; returns at once."""
        with self._lock:
            if message.retain:
                self._states[message.topic] = message
            else:
                self._append(message)
            if not self._rung:
                self._rung = True
                self._bell_writer.send(b"\0")

    def next_seq(self) -> int:
        """The number of the next event: each is one more than the last; the events are put in this order."""
        with self._lock:
            self._seq += 1
            return self._seq

    def take(self, limit: int) -> List[Message]:
        """Up to *limit* messages, states first, streams from the oldest on; [] when there are none."""
        with self._lock:
            taken = [self._states.pop(topic) for topic in list(self._states)[:limit]]
            taken += [self._stream.popleft() for _ in range(min(limit - len(taken), len(self._stream)))]
            if self._rung and not len(self):
                self._rung = False
                self._bell_reader.recv(1)
        return taken

    def fileno(self) -> int:
        """For select and poll."""
        return self._bell_reader.fileno()

    def close(self) -> None:
        """Free the sockets, after the last put and take."""
        self._bell_reader.close()
        self._bell_writer.close()

    def _append(self, message: Message) -> None:
        if len(self._stream) >= self._capacity:
            self._stream.popleft()
            self.dropped += 1
        self._stream.append(message)
