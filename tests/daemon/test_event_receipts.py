from __future__ import annotations

from daemon.outbox.receipts import Receipts


def test_an_event_is_delivered_when_the_broker_lived_on_for_long_enough() -> None:
    receipts = Receipts(replay_s=10)
    receipts.add(1, 100.0)
    receipts.add(2, 103.0)
    assert receipts.delivered(109.9) == []
    assert receipts.delivered(110.0) == [1]
    assert receipts.delivered(113.0) == [1, 2]
    assert (1 in receipts, len(receipts)) == (True, 2)


def test_a_new_connection_wants_a_new_receipt_but_not_all_the_time_again() -> None:
    receipts = Receipts(replay_s=10)
    receipts.add(1, 100.0)
    receipts.begin()
    assert 1 not in receipts
    assert receipts.delivered(200.0) == []
    receipts.add(1, 109.0)
    assert receipts.delivered(110.9) == [], "a receipt just come proves little"
    assert receipts.delivered(111.0) == [1]


def test_what_is_forgotten_begins_anew() -> None:
    receipts = Receipts(replay_s=10)
    receipts.add(1, 100.0)
    receipts.forget(1)
    receipts.add(1, 109.0)
    assert receipts.delivered(115.0) == []
    assert receipts.delivered(119.0) == [1]


def test_it_remembers_no_more_than_it_needs() -> None:
    receipts = Receipts(replay_s=10)
    for seq in range(30_000):
        receipts.add(seq, 100.0)
        receipts.begin()
    assert len(receipts._first) == 20_000
