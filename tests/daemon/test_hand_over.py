from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from daemon.hand_over import HandOver

BATCHES: Any = ["one", "two", "three", "four"]


def test_it_keeps_the_order_and_the_end() -> None:
    results = HandOver(8)
    for batch in [*BATCHES, None]:
        results.put(batch)
    assert [results.get() for _ in range(5)] == [*BATCHES, None]


def test_a_get_waits_as_long_as_it_is_told() -> None:
    results = HandOver()
    with pytest.raises(queue.Empty):
        results.get(timeout=0.01)
    results.put(BATCHES[0])
    assert results.get(timeout=0.01) == "one"


def test_a_put_waits_while_it_is_full_and_goes_on_when_one_is_taken() -> None:
    results = HandOver(2)
    results.put(BATCHES[0])
    results.put(BATCHES[1])
    third = threading.Thread(target=results.put, args=[BATCHES[2]], daemon=True)
    third.start()
    third.join(0.1)
    assert third.is_alive()
    assert results.get() == "one"
    third.join(10)
    assert not third.is_alive()


def test_once_nobody_gets_any_more_nobody_is_held_up() -> None:
    results = HandOver(1)
    results.put(BATCHES[0])
    waiting = threading.Thread(target=results.put, args=[BATCHES[1]], daemon=True)
    waiting.start()
    results.abandon()
    waiting.join(10)
    assert not waiting.is_alive()
    for batch in [*BATCHES, None]:
        results.put(batch)
