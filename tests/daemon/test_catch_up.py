from __future__ import annotations

import pytest

from daemon.outbox.catch_up import CatchUp


@pytest.fixture
def catching_up() -> CatchUp:
    """After a connection began at 100 s, with 5000 events to catch up with."""
    catch_up = CatchUp(1000.0)
    catch_up.begin(5000, 100.0)
    return catch_up


def test_a_hundred_and_then_a_thousand_a_second_are_sent_of_what_has_gathered(catching_up: CatchUp) -> None:
    sent = 0
    for hundredth in range(1, 201):
        room = catching_up.room(500, sent, 100.0 + hundredth / 100)
        catching_up.sent(room)
        sent += room
    assert sent == pytest.approx(2090, abs=2)


def test_a_pause_does_not_end_in_more_than_a_hundred_at_once(catching_up: CatchUp) -> None:
    assert catching_up.room(500, 0, 160.0) == 100
    assert catching_up.room(20, 0, 160.0) == 20


def test_what_is_new_is_not_held_back_nor_counted(catching_up: CatchUp) -> None:
    assert catching_up.room(500, 5000, 100.0) == 500
    catching_up.sent(500)
    assert catching_up.room(500, 4000, 100.0501) == 50, "a look back at what the broker had refused"
    assert catching_up.room(500, 5000, 100.05) == 500
