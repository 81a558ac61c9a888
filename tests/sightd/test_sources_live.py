"""What is live of pictures that come late, by a made-up clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Iterable, Iterator, List, Tuple

import pytest

from sightd.errors import StalledError
from sightd.sources import live
from sightd.sources.live import LivePictures

FPS = 10


class Arrivals:
    """Pictures by when they were made and when they come, as (made, comes), taken as soon as they are there."""

    def __init__(self, pictures: Iterable[Tuple[float, float]], monkeypatch: pytest.MonkeyPatch) -> None:
        self._pictures: Iterator[Tuple[float, float]] = iter(pictures)
        self._now_s = 0.0
        self.age_s = 0.0
        monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: self._now_s))

    def next_picture(self) -> float:
        made_s, comes_s = next(self._pictures)
        waited_s = max(0.008, comes_s - self._now_s)  # decoding takes its time, of a backlog too
        self._now_s += waited_s
        self.age_s = self._now_s - made_s
        return waited_s

    def taken(self, count: int) -> List[Tuple[float, float]]:
        """When it is now, and the age, of the next *count* pictures that are live."""
        pictures, taken = LivePictures(), []
        for _ in range(count):
            pictures.advance(self.next_picture)
            taken.append((self._now_s, self.age_s))
        return taken


def made(begin: int, end: int) -> List[float]:
    return [number / FPS for number in range(begin, end)]


def test_what_piled_up_in_a_network_that_stood_still_is_left_out_though_it_comes_with_gaps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def comes(at: float) -> float:
        if not 10 < at < 18:
            return at
        return next(burst for until, burst in ((12, 17.0), (14, 17.3), (16, 17.9), (18, 18.1)) if at < until)

    taken = Arrivals(((at, comes(at)) for at in made(0, 300)), monkeypatch).taken(200)
    assert max(age for _, age in taken) < 1
    assert next(now for now, _ in taken if now > 11) < 18.5


def test_a_camera_that_stood_still_itself_is_live_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [*made(0, 100), *made(170, 300)]
    taken = Arrivals(((at, at) for at in pictures), monkeypatch).taken(200)
    assert next(now for now, _ in taken if now > 11) < 18


def test_a_camera_that_left_out_a_part_of_what_piled_up_is_live_a_second_after_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = [(at, 17.0 if 10 < at < 17 else at) for at in made(0, 300) if not 13 < at < 17]
    taken = Arrivals(pictures, monkeypatch).taken(200)
    assert max(age for _, age in taken) < 1
    assert next(now for now, _ in taken if now > 11) < 18.5


def test_one_that_is_behind_and_catches_up_slowly_is_to_be_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = ((at, at if at < 10 else 17 + (at - 10) / 1.4) for at in made(0, 1000))
    with pytest.raises(StalledError, match="s behind"):
        Arrivals(pictures, monkeypatch).taken(200)


@pytest.mark.parametrize("every_s", [13.5, 5.0])
def test_one_of_which_next_to_nothing_comes_has_stalled(every_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = ((at, at if at < 10 else 10 + (at - 10) * FPS * every_s) for at in made(0, 1000))
    with pytest.raises(StalledError, match=r"no picture for 1[3-6]"):
        Arrivals(pictures, monkeypatch).taken(200)
