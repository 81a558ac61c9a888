from __future__ import annotations

import time

from daemon.progress import Progress, held_up


def test_an_idle_stage_holds_nothing_however_long_it_waits() -> None:
    progress = Progress()
    assert progress.held_s() == 0
    progress.step(holding=True)
    progress.step(holding=False)
    assert progress.held_s() == 0


def test_work_is_held_from_the_last_step_on() -> None:
    progress = Progress()
    progress.step(holding=True)
    time.sleep(0.02)
    assert progress.held_s() >= 0.02
    progress.step(holding=True)
    assert progress.held_s() < 0.02


def test_the_stages_without_progress_are_named() -> None:
    stages = {"inference": Progress(), "analysis": Progress(), "publisher": Progress()}
    stages["inference"].step(holding=True)
    stages["publisher"].step(holding=True)
    time.sleep(0.02)
    stages["publisher"].step(holding=True)
    assert held_up(stages, 0.015) == ["inference"]
    assert held_up(stages, 60) == []
