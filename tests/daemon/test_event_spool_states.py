"""Any order of puts, commits, receipts, refusals, connections, full disks and kills: nothing stored is ever lost."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Set

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import daemon.outbox.topic_gate
from daemon.outbox.disk import DiskOptions
from daemon.outbox.message import Message
from daemon.outbox.spool import EventSpool
from daemon.outbox.sqlite import DiskError
from daemon.outbox.store import EventStore
from tests.parts.events import crash_image, event

_TOPICS = st.sampled_from(["a", "b", "c"])


class Spool(RuleBasedStateMachine):
    """A spool whose disk can be full, a broker that takes and refuses, and a process that can be killed."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(daemon.outbox.topic_gate, "_FIRST_PAUSE_S", 0.0)  # a refused event is tried again at once
        self.base = Path(tempfile.mkdtemp())
        self.lives = 0
        self.full = False
        self.stored: Set[int] = set()
        self.given: Dict[int, Message] = {}
        self.received: List[Message] = []
        self.flying: List[Message] = []
        #: Where the broker refuses one of several that are on their way, it comes after the others.
        self.refused: Set[str] = set()
        self.spool = self.open(self.base / "0")

    def open(self, folder: Path) -> EventSpool:
        spool = EventSpool(DiskOptions(folder), replay_s=10, settle_s=0, catch_up_rate=1e9)
        spool.begin()
        self.folder = folder
        return spool

    def commit(self) -> None:
        write = EventStore.write

        def fail(*what: Any, **at: Any) -> Any:
            raise DiskError("database or disk is full")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EventStore, "write", fail if self.full else write)
            if self.spool.store():
                self.stored = set(self.given)

    @rule(topic=_TOPICS, count=st.integers(1, 5), priority=st.integers(0, 1), commit=st.booleans())
    def put(self, topic: str, count: int, priority: int, commit: bool) -> None:
        for _ in range(count):
            seq = self.spool.next_seq()
            assert seq not in self.stored
            self.given[seq] = event(seq, topic, priority=priority)
            self.spool.put(self.given[seq])
        if commit:
            self.commit()

    @rule()
    def store(self) -> None:
        self.commit()

    @rule()
    def fill_or_clear_the_disk(self) -> None:
        self.full = not self.full

    @rule(limit=st.integers(1, 10))
    def send(self, limit: int) -> None:
        flying = {message.seq for message in self.flying}
        for message in self.spool.take(limit, time.monotonic()):
            assert message == self.given[message.seq]
            assert message.seq not in flying, "it is on its way already"
            assert message.seq in self.stored or self.full or self.spool.stats().trouble, "not stored"
            self.flying.append(message)

    @precondition(lambda self: self.flying)
    @rule(count=st.integers(1, 10))
    def receive(self, count: int) -> None:
        for message in self.flying[:count]:
            self.received.append(message)
            self.spool.receipt(message, "")
        del self.flying[:count]

    @precondition(lambda self: self.flying)
    @rule(position=st.integers(0, 9))
    def refuse(self, position: int) -> None:
        message = self.flying.pop(min(position, len(self.flying) - 1))
        self.refused.add(message.topic)
        self.spool.receipt(message, "Quota exceeded")

    @rule(deliver=st.booleans())
    def connect_again(self, deliver: bool) -> None:
        if deliver:  # the broker had taken them; it was the receipts that got lost
            self.received += self.flying
        self.flying = []
        self.spool.begin()

    @rule()
    def kill_9(self) -> None:
        image = crash_image(self.folder, self.base / f"image{self.lives}")
        self.spool.close()
        shutil.rmtree(self.folder)
        self.lives += 1
        self.flying = []
        # What was never stored may be gone, and its numbers are given again.
        self.received = [message for message in self.received if message.seq in self.stored]
        self.given = {seq: message for seq, message in self.given.items() if seq in self.stored}
        self.spool = self.open(image)

    @invariant()
    def each_topic_arrives_in_order(self) -> None:
        first: Dict[int, Message] = {}
        for message in self.received:
            first.setdefault(message.seq, message)
        for topic in {"a", "b", "c"} - self.refused:
            numbers = [message.seq for message in first.values() if message.topic == topic]
            assert numbers == sorted(numbers)

    def teardown(self) -> None:
        self.full = False
        self.connect_again(deliver=False)
        self.commit()
        while True:
            self.send(10)
            if not self.flying:
                break
            self.receive(10)
        self.each_topic_arrives_in_order()
        got = {message.seq for message in self.received}
        assert self.stored <= got, "whatever was stored has arrived"
        self.spool.close()
        self.patch.undo()
        shutil.rmtree(self.base)


TestSpool = Spool.TestCase
TestSpool.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
