"""Events whose disk is full, hangs or is damaged: they are sent out of memory, bounded, counted and told."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, List

import pytest

import daemon.outbox.memory
import daemon.outbox.spool
from daemon.outbox.disk import EventDisk
from daemon.outbox.message import Message
from daemon.outbox.spool import EventSpool
from daemon.outbox.sqlite import DiskError
from daemon.outbox.store import EventStore
from tests.parts.events import OpenSpool, drain, prove, put, seqs, take
from tests.parts.publishing import warnings_of


class Failing:
    """Makes the store's commits fail as a full disk does, for as long as `full` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        write = EventStore.write

        def fail(store: EventStore, *what: Any, **at: Any) -> Any:
            if self.full:
                raise DiskError("database or disk is full")
            return write(store, *what, **at)

        monkeypatch.setattr(EventStore, "write", fail)


def test_a_disk_that_stays_full_is_not_said_to_be_well_in_between(
    spool: EventSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(daemon.outbox.spool, "_EXPIRE_S", 0.0)
    Failing(monkeypatch)
    put(spool, 5)
    for _ in range(3):
        assert not spool.store()
        assert spool.stats().trouble
    assert len(caplog.records) == 1


def test_while_the_disk_is_full_events_are_sent_from_memory_in_order_and_counted(
    spool: EventSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    prove(spool, "a")
    stored = put(spool, 5)
    spool.store()
    disk = Failing(monkeypatch)
    unsaved = put(spool, 5)
    assert not spool.store()
    assert spool.stats().trouble == "database or disk is full"
    unsaved += put(spool, 5)
    assert seqs(take(spool)) == stored + unsaved, "those on the disk first"
    assert not spool.store()
    assert spool.stats().unsaved == 10
    spool.begin()
    disk.full = False
    late = put(spool, 1)
    assert spool.store()
    assert seqs(drain(spool)) == [1, *stored, *unsaved, *late]
    assert spool.stats().trouble == ""
    assert spool.stats().unsaved == 11, "the last one waited for the disk, too"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "database or disk is full" in said[0]
    assert said[1].endswith("again")


def test_what_was_sent_from_memory_and_taken_is_not_stored_any_more(
    spool: EventSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Failing(monkeypatch)
    put(spool, 5)
    spool.store()
    drain(spool)
    disk.full = False
    assert spool.store()
    assert (spool.stats().stored, len(spool)) == (0, 0)


def test_memory_is_bounded_and_the_least_important_go_first(spool: EventSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.outbox.memory, "_MOST", 100)
    monkeypatch.setattr(daemon.outbox.memory, "_DROPPED_TOGETHER", 10)
    Failing(monkeypatch)
    important = put(spool, 60, priority=1)
    put(spool, 400)
    spool.store()
    kept = seqs(drain(spool))
    assert kept[:60] == important
    assert kept[-1] == 460
    assert len(kept) <= 100
    assert spool.stats().dropped == {"memory": 460 - len(kept)}


def test_a_commit_that_hangs_does_not_keep_events_from_being_sent(
    spool: EventSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.outbox.spool, "_STALLED_S", 0.1)
    hang, write = threading.Event(), EventStore.write

    def slow(store: EventStore, *what: Any, **at: Any) -> Any:
        hang.wait(10)
        return write(store, *what, **at)

    prove(spool, "a")
    monkeypatch.setattr(EventStore, "write", slow)
    numbers = put(spool, 3)
    committing = threading.Thread(target=spool.store)
    committing.start()
    sent: List[Message] = []
    deadline = time.monotonic() + 10
    while len(sent) < 3:
        assert time.monotonic() < deadline
        sent += take(spool)
    for message in sent:
        spool.receipt(message, "")
    hang.set()
    committing.join(10)
    assert seqs(sent) == numbers
    assert drain(spool) == [], "what was sent meanwhile is not sent twice"
    assert len(spool) == 0


def test_a_damaged_event_is_not_sent_and_its_number_is_missing(spool: EventSpool) -> None:
    numbers = put(spool, 10)
    spool.store()
    assert isinstance(spool._disk, EventDisk)
    store = spool._disk._store
    assert store is not None
    store._connection.execute("UPDATE events SET payload = x'00' WHERE seq IN (4, 7)")
    assert seqs(drain(spool)) == [seq for seq in numbers if seq not in (4, 7)]
    assert spool.stats().quarantined == 2


def test_what_can_not_be_stored_at_the_end_is_told(
    open_spool: OpenSpool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("no folder")
    spool = open_spool(tmp_path / "state" / "outbox")
    put(spool, 3)
    spool.finish()
    spool.run()
    assert warnings_of(caplog)[-1] == "3 events could not be stored and end with this process"
