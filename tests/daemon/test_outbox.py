from __future__ import annotations

import select
import threading
from typing import Iterator, List

import pytest

from daemon.outbox import Message, Outbox


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    box = Outbox(capacity=3)
    yield box
    box.close()


def stream(number: int) -> Message:
    return Message("a/detections", b"%d" % number)


def payloads(messages: List[Message]) -> List[bytes]:
    return [message.payload for message in messages]


def is_readable(outbox: Outbox) -> bool:
    poll = select.poll()
    poll.register(outbox, select.POLLIN)
    return bool(poll.poll(0))


def test_an_empty_outbox_gives_nothing_at_once(outbox: Outbox) -> None:
    assert outbox.take(10) == []
    assert not is_readable(outbox)


def test_a_full_outbox_drops_the_oldest_and_counts_it(outbox: Outbox) -> None:
    for number in range(5):
        outbox.put(stream(number))
    assert outbox.dropped == 2
    assert len(outbox) == 3
    assert payloads(outbox.take(10)) == [b"2", b"3", b"4"]


def test_only_the_newest_of_a_state_waits(outbox: Outbox) -> None:
    outbox.put(Message("a/status", b"online", retain=True))
    outbox.put(Message("b/status", b"online", retain=True))
    outbox.put(Message("a/status", b"offline", retain=True))
    assert {message.topic: message.payload for message in outbox.take(10)} == {
        "a/status": b"offline",
        "b/status": b"online",
    }
    assert outbox.dropped == 0


def test_a_flood_never_pushes_a_state_out(outbox: Outbox) -> None:
    outbox.put(Message("a/status", b"offline", retain=True))
    for number in range(100):
        outbox.put(stream(number))
    assert payloads(outbox.take(10)) == [b"offline", b"97", b"98", b"99"]
    assert outbox.dropped == 97


def test_take_gives_at_most_its_limit_in_order(outbox: Outbox) -> None:
    outbox.put(stream(1))
    outbox.put(stream(2))
    outbox.put(Message("a/status", b"s", retain=True))
    assert [payloads(outbox.take(2)), payloads(outbox.take(2)), payloads(outbox.take(2))] == [[b"s", b"1"], [b"2"], []]


def test_it_is_readable_exactly_while_it_holds_something(outbox: Outbox) -> None:
    for _ in range(3):
        outbox.put(stream(1))
        outbox.put(Message("a/status", b"s", retain=True))
        assert is_readable(outbox)
        outbox.take(1)
        assert is_readable(outbox)
        outbox.take(1)
        assert not is_readable(outbox)


def test_a_waiting_taker_is_woken_by_a_put(outbox: Outbox) -> None:
    woken = threading.Event()

    def wait() -> None:
        poll = select.poll()
        poll.register(outbox, select.POLLIN)
        if poll.poll(10_000):
            woken.set()

    taker = threading.Thread(target=wait)
    taker.start()
    outbox.put(stream(1))
    taker.join(10)
    assert woken.is_set()


def test_nothing_is_lost_or_doubled_between_many_putters_and_one_taker() -> None:
    outbox = Outbox(capacity=50)
    total = 4 * 2000

    def put() -> None:
        for number in range(2000):
            outbox.put(stream(number))

    putters = [threading.Thread(target=put) for _ in range(4)]
    for putter in putters:
        putter.start()
    taken = 0
    while any(putter.is_alive() for putter in putters) or len(outbox):
        taken += len(outbox.take(7))
    for putter in putters:
        putter.join()
    assert taken + outbox.dropped == total
    assert taken > 0
    assert not is_readable(outbox)
    outbox.close()


def test_a_state_has_qos_1_and_a_stream_qos_0() -> None:
    assert (Message("t", b"", retain=True).qos, Message("t", b"").qos) == (1, 0)
