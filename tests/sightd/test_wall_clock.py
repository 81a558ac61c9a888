from __future__ import annotations

import time

import pytest

from sightd.wall_clock import WallClock


class Hands:
    """Both clocks of a machine."""

    wall, mono = 1_700_000_000.0, 50.0

    def pass_s(self, seconds: float) -> None:
        self.wall, self.mono = self.wall + seconds, self.mono + seconds


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    moved = Hands()
    monkeypatch.setattr(time, "time", lambda: moved.wall)
    monkeypatch.setattr(time, "monotonic", lambda: moved.mono)
    return moved


def test_it_runs_on_and_is_slewed_without_a_word(hands: Hands) -> None:
    clock = WallClock()
    for _ in range(1000):
        hands.pass_s(10)
        hands.wall += 0.005  # the most that NTP slews
        assert clock.look() == 0
    assert (clock.jumps, clock.last_jump_s, clock.steady_s) == (0, 0.0, float("inf"))


@pytest.mark.parametrize("jump_s", [3600.0, -90.5, 1e9, -1e9, 2.5])
def test_each_jump_is_seen_once(hands: Hands, jump_s: float) -> None:
    clock = WallClock()
    hands.pass_s(7)
    hands.wall += jump_s
    assert clock.look() == pytest.approx(jump_s, abs=1e-3)
    hands.pass_s(30)
    assert clock.look() == 0
    assert (clock.jumps, clock.steady_s) == (1, 30.0)
    assert clock.last_jump_s == pytest.approx(jump_s, abs=1e-3)
