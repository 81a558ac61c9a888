"""A publisher on a thread of its own, for tests."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Optional

import pytest

from daemon.broker import BrokerOptions, Inbox
from daemon.outbox import Message, Outbox
from daemon.outbox.spool import EventSpool
from daemon.publisher import Publisher
from daemon.topics import Topics

__all__ = ["Running", "publishing", "warnings_of"]

_TOPICS = Topics("sightd/porch")


class Running:
    """A publisher on a thread of its own, and how it ended."""

    def __init__(
        self,
        options: BrokerOptions,
        topics: Topics,
        capacity: int,
        inbox: Optional[Inbox] = None,
        events: Optional[EventSpool] = None,
    ) -> None:
        self.outbox = Outbox(capacity, events)
        self.publisher = Publisher(options, topics, self.outbox, inbox)
        self.errors: List[BaseException] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.publisher.run(self._stop)
        except BaseException as error:  # the test's thread reports it
            self.errors.append(error)

    def put(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.outbox.put(Message(topic, payload, retain))

    def wait_until(self, holds: Callable[[Publisher], bool], deadline_s: float = 30) -> None:
        deadline = time.monotonic() + deadline_s
        while not holds(self.publisher):
            assert time.monotonic() < deadline, f"not within {deadline_s} s; state {self.publisher.state!r}"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self.errors == []


@contextmanager
def publishing(
    port: int,
    topics: Topics = _TOPICS,
    capacity: int = 1000,
    inbox: Optional[Inbox] = None,
    events: Optional[EventSpool] = None,
    **options: Any,
) -> Iterator[Running]:
    """*events* has its storing thread from whoever made it, which still runs when the outbox is closed."""
    options = {"host": "127.0.0.1", "port": port, **options}
    running = Running(BrokerOptions(**options), topics, capacity, inbox, events)
    try:
        yield running
    finally:
        running.stop()
        running.publisher.close()
        running.outbox.close()


def warnings_of(caplog: pytest.LogCaptureFixture) -> List[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
