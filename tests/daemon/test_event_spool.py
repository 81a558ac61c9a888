"""Events between put and receipt: in order, each once or again with the same number, whatever ends in between."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest

import daemon.outbox.memory
import daemon.outbox.receipts
import daemon.outbox.spool
from daemon.outbox.disk import DiskOptions, EventDisk
from daemon.outbox.message import Message
from daemon.outbox.spool import EventSpool
from daemon.outbox.sqlite import DiskError
from daemon.outbox.store import EventStore
from tests.parts.events import crash_image, drain, event, seqs
from tests.parts.publishing import warnings_of


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[EventSpool]:
    opened = opened_at(tmp_path / "outbox")
    yield opened
    opened.close()


def opened_at(folder: Path, replay_s: float = 10.0, **options: Any) -> EventSpool:
    spool = EventSpool(DiskOptions(folder, **options), replay_s, settle_s=0, catch_up_rate=1e9)
    spool.begin()
    return spool


def put(spool: EventSpool, count: int, topic: str = "a", **about: Any) -> List[int]:
    """*count* more events; their numbers."""
    numbers = [spool.next_seq() for _ in range(count)]
    for seq in numbers:
        spool.put(event(seq, topic, **about))
    return numbers


def take(spool: EventSpool, limit: int = 100) -> List[Message]:
    return spool.take(limit, time.monotonic())


def prove(spool: EventSpool, *topics: str) -> None:
    """Have the broker take an event of each of *topics*, so that the next ones are not held back."""
    for topic in topics:
        put(spool, 1, topic)
    spool.store()
    for message in take(spool):
        spool.receipt(message, "")


def test_nothing_is_sent_before_it_is_stored(spool: EventSpool) -> None:
    prove(spool, "a")
    numbers = put(spool, 3)
    assert take(spool) == []
    spool.store()
    assert seqs(take(spool)) == numbers
    assert take(spool) == [], "they are on their way"


def test_the_first_of_a_topic_goes_ahead(spool: EventSpool) -> None:
    numbers = put(spool, 3, "a") + put(spool, 3, "b")
    spool.store()
    first = take(spool)
    assert seqs(first) == [numbers[0], numbers[3]]
    spool.receipt(first[1], "")
    assert seqs(take(spool)) == numbers[4:]
    spool.receipt(first[0], "")
    assert seqs(take(spool)) == numbers[1:3]


def test_no_more_are_taken_than_the_limit(spool: EventSpool) -> None:
    prove(spool, "a")
    numbers = put(spool, 50)
    spool.store()
    assert [seqs(take(spool, 7)) for _ in range(3)] == [numbers[:7], numbers[7:14], numbers[14:21]]
    assert take(spool, 0) == []


def test_a_new_connection_gets_what_has_no_receipt_and_what_had_one_lately(spool: EventSpool) -> None:
    prove(spool, "a")
    numbers = put(spool, 5)
    spool.store()
    sent = take(spool)
    for message in sent[:2]:
        spool.receipt(message, "")
    spool.begin()
    assert seqs(drain(spool)) == [1, *numbers]


def test_what_had_its_receipt_long_enough_ago_is_deleted_and_not_sent_again(tmp_path: Path) -> None:
    spool = opened_at(tmp_path, replay_s=5)
    put(spool, 3)
    drain(spool)
    spool.take(1, time.monotonic() + 4)
    spool.store()
    assert spool.stats().stored == 3
    spool.take(1, time.monotonic() + 6)  # the broker gave a sign of life so much later
    spool.store()
    assert (spool.stats().stored, len(spool)) == (0, 0)
    spool.begin()
    assert drain(spool) == []
    spool.close()


def test_connections_that_never_last_do_not_send_everything_again_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.outbox.receipts, "_HOLD_S", 0.05)
    spool = opened_at(tmp_path, replay_s=0.5)
    numbers = put(spool, 3)
    spool.store()
    deadline = time.monotonic() + 10
    sent = 0
    while spool.stats().stored:
        assert time.monotonic() < deadline
        spool.begin()
        until = time.monotonic() + 0.2  # less than replay_s
        while time.monotonic() < until:
            spool.store()
            for message in take(spool):
                sent += 1
                spool.receipt(message, "")
            time.sleep(0.01)
    assert sent > len(numbers)
    spool.close()


def test_without_a_sign_of_life_from_the_broker_nothing_is_deleted(tmp_path: Path) -> None:
    spool = opened_at(tmp_path, replay_s=0.05)
    put(spool, 3)
    drain(spool)
    heard_at = time.monotonic()
    time.sleep(0.1)
    spool.take(1, heard_at)
    spool.store()
    assert spool.stats().stored == 3
    spool.close()


def test_a_topic_that_the_broker_refuses_waits_and_holds_up_no_other(
    spool: EventSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.outbox.topic_gate._FIRST_PAUSE_S", 0.2)
    denied, others = put(spool, 3, "denied"), put(spool, 3, "b")
    spool.store()
    sent: List[int] = []
    refusals = 0
    deadline = time.monotonic() + 10
    while len(sent) < 6:
        assert time.monotonic() < deadline
        for message in take(spool):
            refuse = message.topic == "denied" and refusals < 2
            spool.receipt(message, "Not authorized" if refuse else "")
            refusals += refuse
            sent += [] if refuse else [message.seq]
    assert sent == others + denied


def test_a_long_queue_of_a_refused_topic_is_passed_in_steps_that_follow_at_once(spool: EventSpool) -> None:
    put(spool, 3000, "denied")
    spool.store()
    rung: List[int] = []
    spool.on_ready = lambda: rung.append(1)
    while spool.store() and len(spool._waiting):
        pass
    (first,) = take(spool, 10)
    spool.receipt(first, "Not authorized")
    put(spool, 1, "b")
    spool.store()
    takes = 0
    del rung[:]
    while not (found := take(spool, 10)):
        takes += 1
        assert len(rung) == takes, "it is told to go on at once"
    assert found[0].topic == "b"


def test_what_nobody_is_subscribed_to_is_tried_again_in_order_for_a_while_and_then_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.outbox.spool, "_UNHEARD_PAUSE_S", 0.001)
    spool = opened_at(tmp_path, replay_s=0.3)
    numbers = put(spool, 3)
    spool.store()
    tried: List[int] = []
    deadline = time.monotonic() + 10
    while len(spool):
        assert time.monotonic() < deadline
        for message in take(spool):
            tried.append(message.seq)
            spool.unheard(message)
    assert tried[:2] == [1, 1]
    assert list(dict.fromkeys(tried)) == numbers
    spool.close()


def test_a_message_that_the_broker_will_never_take_is_dropped_and_counted(spool: EventSpool) -> None:
    numbers = put(spool, 2)
    spool.store()
    (first,) = take(spool)
    spool.receipt(first, "Packet too large")
    assert seqs(take(spool)) == numbers[1:]
    assert spool.stats().dropped == {"refused": 1}
    spool.begin()
    assert seqs(drain(spool)) == numbers[1:]


def test_a_process_that_was_killed_loses_only_what_was_not_stored(spool: EventSpool, tmp_path: Path) -> None:
    stored = put(spool, 20)
    spool.store()
    lost = put(spool, 5)
    again = opened_at(crash_image(tmp_path / "outbox", tmp_path / "image"))
    assert again.next_seq() == lost[0], "nobody has seen the number of what was never stored"
    assert seqs(drain(again)) == stored
    again.close()


def test_numbers_go_on_after_a_restart_with_nothing_left(tmp_path: Path) -> None:
    spool = opened_at(tmp_path, replay_s=0)
    put(spool, 7)
    drain(spool)
    spool.take(1, time.monotonic() + 1)
    spool.store()
    assert spool.stats().stored == 0
    spool.close()
    again = opened_at(tmp_path)
    assert again.next_seq() == 8
    again.close()


def test_the_thread_stores_what_is_put_and_what_is_left_at_the_end(tmp_path: Path) -> None:
    spool = opened_at(tmp_path)
    rung = threading.Event()
    spool.on_ready = rung.set
    thread = threading.Thread(target=spool.run)
    thread.start()
    put(spool, 1)
    assert rung.wait(10)
    put(spool, 2000)
    spool.finish()
    thread.join(10)
    assert not thread.is_alive()
    assert spool.stats().stored == 2001
    spool.close()


def test_a_burst_is_one_commit(spool: EventSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: List[int] = []
    write = EventStore.write
    monkeypatch.setattr(
        EventStore, "write", lambda self, *what, **at: (commits.append(len(what[0])), write(self, *what, **at))[1]
    )
    put(spool, 300)
    spool.store()
    assert commits == [300]


def test_without_events_the_disk_is_left_alone(spool: EventSpool, tmp_path: Path) -> None:
    put(spool, 3)
    drain(spool)
    spool.take(1, time.monotonic() + 20)
    thread = threading.Thread(target=spool.run)
    thread.start()
    deadline = time.monotonic() + 10
    while spool.stats().stored:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "outbox").iterdir()}
    for _ in range(10):
        take(spool)
        time.sleep(0.05)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "outbox").iterdir()} == before
    spool.finish()
    thread.join(10)


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


def test_of_too_many_the_oldest_go_and_those_with_a_receipt_before_them(tmp_path: Path) -> None:
    spool = opened_at(tmp_path, max_events=100)
    delivered = put(spool, 95)
    drain(spool)
    waiting = put(spool, 100)
    spool.store()
    assert spool.stats().dropped == {}, "what was delivered made room"
    more = put(spool, 50)
    spool.store()
    assert spool.stats().dropped == {"full": 50}
    spool.begin()
    assert seqs(drain(spool)) == (waiting + more)[50:]
    assert delivered[-1] < waiting[0]
    spool.close()


def test_what_can_not_be_stored_at_the_end_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("no folder")
    spool = opened_at(tmp_path / "state" / "outbox")
    put(spool, 3)
    spool.finish()
    spool.run()
    assert warnings_of(caplog)[-1] == "3 events could not be stored and end with this process"
    spool.close()


def test_without_a_folder_events_are_kept_in_memory_and_sent_again_just_so() -> None:
    spool = EventSpool(settle_s=0)
    spool.begin()
    numbers = put(spool, 5)
    assert seqs(drain(spool)) == numbers
    spool.begin()
    assert seqs(drain(spool)) == numbers
    spool.take(1, time.monotonic() + 20)
    assert len(spool) == 0
    spool.begin()
    assert drain(spool) == []
    put(spool, 1)
    spool.finish()
    spool.run()  # ends, with nothing to store it in


def test_a_connection_begins_without_events_so_that_subscribers_are_back(tmp_path: Path) -> None:
    spool = EventSpool(DiskOptions(tmp_path), settle_s=0.3)
    started = time.monotonic()
    spool.begin()
    put(spool, 1)
    spool.store()
    while not take(spool):
        assert time.monotonic() < started + 10
        time.sleep(0.01)
    assert time.monotonic() - started >= 0.3
    spool.close()
