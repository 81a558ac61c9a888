"""What changes to and fro does not fill the log."""

from __future__ import annotations

from typing import List

from daemon.repeats import Repeats


def flap(repeats: Repeats, began_s: float, ends_s: float) -> List[str]:
    """The lines of a camera that is lost every two seconds."""
    lines = []
    for now_s in range(int(began_s), int(ends_s), 2):
        lines += [repeats.said("online", now_s), repeats.said("offline: crashed", now_s + 1)]
        assert not repeats.held(now_s + 1.5)
    return [line for line in lines if line]


def test_the_same_is_told_three_times_and_then_every_ten_minutes() -> None:
    repeats = Repeats()
    assert flap(repeats, 0, 600) == 3 * ["online", "offline: crashed"]
    told = flap(repeats, 600, 1200)
    assert told == ["online (300 times in the last 600 s)", "offline: crashed (300 times in the last 600 s)"]


def test_another_reason_is_told_at_once() -> None:
    repeats = Repeats()
    flap(repeats, 0, 100)
    assert repeats.said("offline: refused", 101.0) == "offline: refused"


def test_what_holds_is_told_once() -> None:
    repeats = Repeats()
    flap(repeats, 0, 100)
    assert repeats.said("online", 100.0) == ""
    assert repeats.held(109.0) == ""
    assert repeats.held(110.0) == "online (48 times in the last 106 s)"
    assert repeats.held(111.0) == ""


def test_once_an_hour_is_told_every_time() -> None:
    repeats = Repeats()
    assert all(repeats.said("offline: lost", hour * 3600.0) == "offline: lost" for hour in range(50))


def test_reasons_that_take_turns_are_told_no_more_often_and_ever_new_ones_cost_no_memory() -> None:
    repeats = Repeats()
    told = [repeats.said(f"offline: crashed ({turn % 2})", float(turn)) for turn in range(100)]
    assert sum(map(bool, told)) == 6
    assert all(repeats.said(f"offline: {number}", 100.0) for number in range(100))
    assert len(repeats._lines) < 20
