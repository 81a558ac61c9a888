"""The main thread's rounds, by a clock that the test moves on."""

from __future__ import annotations

import logging
import time
from typing import Dict, List

import pytest

from daemon.memory import MemoryGauge, Usage
from daemon.notify import Notifier
from daemon.plan import CameraPlan, Plan
from daemon.progress import Progress
from daemon.supervisor import Supervisor

PLAN = Plan({"door": CameraPlan("a"), "yard": CameraPlan("b")}, {}, {})


class Systemd(Notifier):
    """Counts how often the watchdog is fed."""

    def __init__(self, watchdog_s: float) -> None:
        super().__init__({})
        self.watchdog_s, self.fed = watchdog_s, 0

    def feed(self) -> None:
        self.fed += 1


class Rounds:
    """A supervisor of the stages "inference" and "analysis" and all that it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, watchdog_s: float = 20.0) -> None:
        self.now, self.ahead, self.usage = 1000.0, 1e9, Usage(10, 100)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: self.now + self.ahead)
        monkeypatch.setattr(MemoryGauge, "read", lambda gauge: self.usage)
        self.progress: Dict[str, Progress] = {"inference": Progress(), "analysis": Progress()}
        self.systemd = Systemd(watchdog_s)
        self.failures: List[str] = []
        self.supervisor = Supervisor(self.systemd, self.progress, MemoryGauge(), self.failures.append)

    def run(self, seconds: float) -> List[bool]:
        """What look() says, ten times a second."""
        said = []
        for _ in range(round(seconds * 10)):
            said.append(self.supervisor.look(PLAN))
            self.now += 0.1
        return said


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    return Rounds(monkeypatch)


def test_the_watchdog_is_fed_four_times_in_its_time_while_stages_idle_or_get_on(rounds: Rounds) -> None:
    for _ in range(60):
        rounds.progress["inference"].step(holding=True)
        rounds.run(1)
    assert 10 <= rounds.systemd.fed <= 13
    assert rounds.failures == []


def test_a_stage_that_holds_its_work_ends_the_service_and_the_watchdog_is_fed_no_more(
    rounds: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    rounds.run(3)
    rounds.progress["inference"].step(holding=True)
    rounds.run(9.5)
    assert rounds.failures == []
    fed = rounds.systemd.fed
    rounds.run(2)
    assert rounds.failures[0] == "inference"
    assert rounds.systemd.fed == fed
    assert "no progress for 10 s in: inference; ending" in caplog.text


@pytest.mark.parametrize("stood_still_s", [12.0, 600.0])
def test_a_machine_that_stood_still_excuses_its_stages(rounds: Rounds, stood_still_s: float) -> None:
    rounds.progress["inference"].step(holding=True)
    rounds.run(2)
    rounds.now += stood_still_s
    rounds.run(1)
    rounds.progress["inference"].step(holding=True)
    rounds.run(9)
    assert rounds.failures == []
    rounds.run(5)
    assert rounds.failures[0] == "inference", "but only once"


def test_others_are_told_of_the_stages_that_hang_as_long_as_they_do(rounds: Rounds) -> None:
    rounds.run(3)
    rounds.progress["inference"].step(holding=True)
    rounds.run(9.5)
    assert rounds.supervisor.stuck() == []
    rounds.run(1)
    assert rounds.supervisor.stuck() == ["inference"]
    rounds.progress["inference"].step(holding=False)
    assert rounds.supervisor.stuck() == []


def test_they_are_told_of_the_main_thread_too_but_not_before_its_first_round(rounds: Rounds) -> None:
    rounds.now += 60
    assert rounds.supervisor.stuck() == [], "it still waits for the models"
    rounds.run(1)
    rounds.now += 11
    assert rounds.supervisor.stuck() == ["main"]
    rounds.run(0.1)
    assert rounds.supervisor.stuck() == []


def test_they_are_told_nothing_of_stages_that_are_excused(rounds: Rounds) -> None:
    rounds.progress["inference"].step(holding=True)
    rounds.run(2)
    rounds.now += 12
    rounds.run(1)
    assert rounds.supervisor.stuck() == []


def test_memory_is_looked_at_now_and_then_and_a_step_is_told(rounds: Rounds, caplog: pytest.LogCaptureFixture) -> None:
    assert not any(rounds.run(20))
    rounds.usage = Usage(95 << 20, 100 << 20)
    said = rounds.run(30)
    assert said.count(True) == 1
    assert rounds.supervisor.level == 1
    assert rounds.supervisor.memory().given_up == ["camera yard"]
    assert caplog.text.count("given up: camera yard") == 1


def test_a_clock_that_is_set_is_told_once(rounds: Rounds, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rounds.run(2)
        rounds.ahead -= 7200
        rounds.run(5)
    assert (rounds.supervisor.clock().jumps, rounds.supervisor.clock().last_jump_s) == (1, -7200.0)
    assert caplog.text.count("the clock was set back by 7200.0 s") == 1
