from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from daemon.memory import Usage
from daemon.plan import CameraPlan, Collection, Plan
from daemon.rules import Rule
from daemon.shedding import Ladder, expendable, reduced, release_free_memory

NAMES = ["door", "yard", "gate"]
PLAN = Plan(
    {**{name: CameraPlan(name) for name in NAMES}, "spare": None},
    {name: Rule(0.5, bundle="m") for name in NAMES},
    {},
    Collection(Path("set"), 10, 10, 0.0, 60.0),
)


def used(percent: int) -> Usage:
    return Usage(percent, 100)


def run(ladder: Ladder, percent: int, seconds: int, start: int, rungs: int = 3) -> List[int]:
    """The levels that *ladder* has each second of so many at *percent*."""
    levels = []
    for second in range(start, start + seconds):
        ladder.step(used(percent), rungs, float(second))
        levels.append(ladder.level)
    return levels


def test_calibration_goes_first_then_the_cameras_from_the_last_on_and_the_first_stays() -> None:
    assert expendable(PLAN) == ["calibration", "camera gate", "camera yard"]
    assert reduced(PLAN, 0) == PLAN
    without_calibration = reduced(PLAN, 1)
    assert (without_calibration.collection, without_calibration.cameras) == (None, PLAN.cameras)
    least = reduced(PLAN, 9)
    assert [name for name, camera in least.cameras.items() if camera] == ["door"]
    assert list(least.cameras) == list(PLAN.cameras)
    assert least.rules == PLAN.rules, "frames under way are still reported"


def test_one_thing_is_given_up_at_a_time_and_each_gets_its_time_to_help() -> None:
    ladder = Ladder()
    assert run(ladder, 89, 30, 0) == [0] * 30
    assert run(ladder, 90, 25, 30) == [1] * 10 + [2] * 10 + [3] * 5
    assert run(ladder, 99, 30, 55) == [3] * 30


def test_it_comes_back_one_by_one_when_memory_has_been_low_for_a_minute_and_not_in_between() -> None:
    ladder = Ladder()
    run(ladder, 95, 15, 0)
    assert run(ladder, 80, 300, 15) == [2] * 300
    assert run(ladder, 70, 50, 315) == [2] * 50
    assert run(ladder, 80, 1, 365) == [2], "and the minute begins anew"
    assert run(ladder, 70, 130, 366) == [2] * 60 + [1] * 60 + [0] * 10


def test_what_came_back_too_early_waits_twice_as_long_the_next_time() -> None:
    ladder = Ladder()
    now, waits = 0, []
    for _ in range(9):
        run(ladder, 95, 1, now, rungs=1)
        levels = run(ladder, 50, 4000, now + 1, rungs=1)
        waits.append(levels.index(0))
        now += 10_000
    assert waits[:4] == [60, 120, 240, 480]
    assert waits[-1] == 3600


def test_it_is_exhausted_after_a_minute_at_the_limit_with_nothing_left() -> None:
    ladder = Ladder()
    run(ladder, 98, 21, 0)
    assert ladder.level == 3
    run(ladder, 98, 59, 21)
    assert not ladder.is_exhausted(79.0)
    run(ladder, 95, 1, 80)
    run(ladder, 98, 61, 81)
    assert not ladder.is_exhausted(140.0)
    assert ladder.is_exhausted(141.0)


@pytest.mark.parametrize("rungs", [0, 2])
def test_without_a_limit_nothing_is_ever_given_up(rungs: int) -> None:
    ladder = Ladder()
    for second in range(1000):
        assert not ladder.step(Usage(1 << 40, 0), rungs, float(second))
        assert not ladder.is_exhausted(float(second))


def test_fewer_things_to_give_up_after_a_reload() -> None:
    ladder = Ladder()
    run(ladder, 95, 25, 0)
    assert ladder.level == 3
    assert ladder.step(used(80), 1, 26.0)
    assert ladder.level == 1


def test_free_memory_can_be_handed_back() -> None:
    release_free_memory()
