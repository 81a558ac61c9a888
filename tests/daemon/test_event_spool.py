"""Events between put and receipt: in order, each once or again with the same number, whatever ends in between."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import List

import pytest

import daemon.outbox.receipts
import daemon.outbox.spool
from daemon.outbox.spool import EventSpool
from daemon.outbox.store import EventStore
from tests.parts.events import OpenSpool, crash_image, drain, prove, put, seqs, take


def made_up_clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time passes only where ``now_s`` is moved on."""
    clock = SimpleNamespace(now_s=time.monotonic())
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock


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


def test_what_had_its_receipt_long_enough_ago_is_deleted_and_not_sent_again(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = open_spool(tmp_path, replay_s=50)
    put(spool, 3)
    drain(spool)
    spool.take(1, time.monotonic() + 20)
    spool.store()
    assert spool.stats().stored == 3
    spool.take(1, time.monotonic() + 60)  # the broker gave a sign of life so much later
    spool.store()
    assert (spool.stats().stored, len(spool)) == (0, 0)
    spool.begin()
    assert drain(spool) == []


def test_connections_that_never_last_do_not_send_everything_again_for_ever(
    open_spool: OpenSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.outbox.receipts, "_HOLD_S", 0.05)
    spool = open_spool(tmp_path, replay_s=0.5)
    clock = made_up_clock(monkeypatch)
    numbers = put(spool, 3)
    spool.store()
    sent = 0
    for _ in range(10):
        spool.begin()
        for _ in range(20):  # 0.2 s, less than replay_s
            spool.store()
            for message in take(spool):
                sent += 1
                spool.receipt(message, "")
            clock.now_s += 0.01
    assert spool.stats().stored == 0
    assert sent > len(numbers)


def test_without_a_sign_of_life_from_the_broker_nothing_is_deleted(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(tmp_path, replay_s=0.05)
    put(spool, 3)
    drain(spool)
    heard_at = time.monotonic()
    time.sleep(0.1)
    spool.take(1, heard_at)
    spool.store()
    assert spool.stats().stored == 3


def test_a_topic_that_the_broker_refuses_waits_and_holds_up_no_other(
    spool: EventSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.outbox.topic_gate._FIRST_PAUSE_S", 0.2)
    denied, others = put(spool, 3, "denied"), put(spool, 3, "b")
    spool.store()
    clock = made_up_clock(monkeypatch)
    sent: List[int] = []
    refusals = 0
    for _ in range(100):
        clock.now_s += 0.01
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
    open_spool: OpenSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.outbox.spool, "_UNHEARD_PAUSE_S", 0.001)
    spool = open_spool(tmp_path, replay_s=0.3)
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


def test_a_message_that_the_broker_will_never_take_is_dropped_and_counted(spool: EventSpool) -> None:
    numbers = put(spool, 2)
    spool.store()
    (first,) = take(spool)
    spool.receipt(first, "Packet too large")
    assert seqs(take(spool)) == numbers[1:]
    assert spool.stats().dropped == {"refused": 1}
    spool.begin()
    assert seqs(drain(spool)) == numbers[1:]


def test_a_process_that_was_killed_loses_only_what_was_not_stored(
    open_spool: OpenSpool, spool: EventSpool, tmp_path: Path
) -> None:
    stored = put(spool, 20)
    spool.store()
    lost = put(spool, 5)
    again = open_spool(crash_image(tmp_path / "outbox", tmp_path / "image"))
    assert again.next_seq() == lost[0], "nobody has seen the number of what was never stored"
    assert seqs(drain(again)) == stored


def test_numbers_go_on_after_a_restart_with_nothing_left(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(tmp_path, replay_s=0)
    put(spool, 7)
    drain(spool)
    spool.take(1, time.monotonic() + 1)
    spool.store()
    assert spool.stats().stored == 0
    spool.close()
    again = open_spool(tmp_path)
    assert again.next_seq() == 8


def test_the_thread_stores_what_is_put_and_what_is_left_at_the_end(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
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


def test_of_too_many_the_oldest_go_and_those_with_a_receipt_before_them(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_events=100)
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


def test_a_connection_begins_without_events_so_that_subscribers_are_back(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(tmp_path, settle_s=0.3)
    started = time.monotonic()
    spool.begin()
    put(spool, 1)
    spool.store()
    while not take(spool):
        assert time.monotonic() < started + 10
        time.sleep(0.01)
    assert time.monotonic() - started >= 0.3
