from __future__ import annotations

import time

import pytest

from daemon.progress import Progress, held_up
from tests.parts.patient_engine import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the time is."""
    ticks = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: float(ticks.now))
    return ticks


def test_an_idle_stage_holds_nothing_however_long_it_waits(clock: Clock) -> None:
    progress = Progress()
    assert progress.held_s() == 0
    progress.step(holding=True)
    progress.step(holding=False)
    clock.now += 1000
    assert progress.held_s() == 0


def test_work_is_held_from_the_last_step_on(clock: Clock) -> None:
    progress = Progress()
    progress.step(holding=True)
    clock.now += 7
    assert progress.held_s() == 7
    progress.step(holding=True)
    assert progress.held_s() == 0


def test_the_stages_without_progress_are_named(clock: Clock) -> None:
    stages = {"inference": Progress(), "analysis": Progress(), "publisher": Progress()}
    stages["inference"].step(holding=True)
    stages["publisher"].step(holding=True)
    clock.now += 7
    stages["publisher"].step(holding=True)
    assert held_up(stages, 6) == ["inference"]
    assert held_up(stages, 7) == []
