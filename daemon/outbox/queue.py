"""The queue between whoever has something to say and the publisher: bounded, never blocking; events go by the disk."""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import Deque, Dict, List, Optional

from .message import Message
from .spool import EventSpool

__all__ = ["Message", "Outbox"]


class Outbox:
    """Messages that wait to be published; any thread puts, one takes.

    Of a state only the newest waits. Of streams at most *capacity* messages wait; when it is full the
    oldest is dropped and counted. Each event counts: :class:`daemon.outbox.spool.EventSpool` keeps them.

    An outbox can be waited for together with sockets (select, poll): it is readable while it holds a state or a
    message of a stream, and from when an event was stored until the next take().
    """

    def __init__(self, capacity: int = 1000, events: Optional[EventSpool] = None) -> None:
        """*events* None keeps events in memory; else its run() has a thread of its own."""
        self._capacity = capacity
        self._stream: Deque[Message] = deque()
        self._states: Dict[str, Message] = {}
        self._lock = threading.Lock()
        self._bell_reader, self._bell_writer = socket.socketpair()
        self._rung = False
        #: What the publisher is to tell of events.
        self.events = EventSpool() if events is None else events
        self.events.on_ready = self._ring
        #: Messages of streams dropped because the outbox was full.
        self.dropped = 0

    def __len__(self) -> int:
        """Messages that wait; of events, those that are not on their way."""
        return len(self._stream) + len(self._states) + self.events.unsent

    def put(self, message: Message) -> None:
        """Add *message*; returns at once. Events are put in the order of their numbers."""
        if message.seq:
            self.events.put(message)
            return
        with self._lock:
            if message.retain:
                self._states[message.topic] = message
            else:
                self._append(message)
        self._ring()

    def next_seq(self) -> int:
        """The number of the next event: each is one more than the last, over restarts too; no disk is waited for."""
        return self.events.next_seq()

    def take(self, limit: int, events: int = 0, heard_at: float = 0.0) -> List[Message]:
        """Up to *limit* messages, states first, streams from the oldest on; then up to *events* events.

        :param heard_at: of the connection that they are for, see :meth:`daemon.outbox.spool.EventSpool.take`.
        """
        with self._lock:
            taken = [self._states.pop(topic) for topic in list(self._states)[:limit]]
            taken += [self._stream.popleft() for _ in range(min(limit - len(taken), len(self._stream)))]
            if self._rung and not self._stream and not self._states:
                self._rung = False
                self._bell_reader.recv(1)
        # After the bell is quiet: what is stored from here on rings it again.
        return taken + self.events.take(events, heard_at) if events else taken

    def fileno(self) -> int:
        """For select and poll."""
        return self._bell_reader.fileno()

    def close(self) -> None:
        """Free sockets and files, after the last put and take, and when the events' run() has returned."""
        self.events.close()
        with self._lock:
            self._rung = True  # whoever comes late finds no socket to write to
            self._bell_reader.close()
            self._bell_writer.close()

    def _ring(self) -> None:
        with self._lock:
            if not self._rung:
                self._rung = True
                self._bell_writer.send(b"\0")

    def _append(self, message: Message) -> None:
        if len(self._stream) >= self._capacity:
            self._stream.popleft()
            self.dropped += 1
        self._stream.append(message)
