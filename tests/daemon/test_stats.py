"""The line of `systemctl status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

from daemon.stats import sentence


@dataclass
class Camera:
    state: str
    fps: float


@dataclass
class Publisher:
    connected: bool


@dataclass
class Stats:
    """What the line is made of."""

    cameras: Dict[str, Camera]
    publisher: Publisher


STATS = Stats({"yard": Camera("online", 10.0), "gate": Camera("offline", 0.0)}, Publisher(True))


def test_it_says_who_is_missing() -> None:
    assert sentence(STATS) == "1 of 2 cameras online (gate offline), 10.0 fps; broker connected"  # type: ignore[arg-type]


def test_another_engine_than_the_bundles_comes_first_with_its_remedy() -> None:
    said = sentence(STATS, "the fallback serves; sightd convert --rebuild B")  # type: ignore[arg-type]
    assert said.startswith("NOT THE BUNDLE'S ENGINE: the fallback serves; sightd convert --rebuild B | 1 of 2 cameras")
