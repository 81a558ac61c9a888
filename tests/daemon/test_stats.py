"""The line of `systemctl status`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, List

from daemon.stats import sentence


@dataclass
class Camera:
    state: str
    fps: float


@dataclass
class Publisher:
    connected: bool
    broker: str = "b:1883"
    state: str = "connected"
    state_s: float = 60.0
    denied: int = 0
    last_denial: str = ""
    denies: str = ""


@dataclass
class Memory:
    given_up: List[str]


@dataclass
class Outbox:
    trouble: str = ""
    unsaved: int = 0


@dataclass
class Stats:
    """What the line is made of."""

    cameras: Dict[str, Camera]
    publisher: Publisher
    memory: Memory = field(default_factory=lambda: Memory([]))
    outbox: Outbox = field(default_factory=Outbox)


CAMERAS = {"yard": Camera("online", 10.0), "gate": Camera("offline", 0.0)}
STATS = Stats(CAMERAS, Publisher(True))


def test_it_says_who_is_missing() -> None:
    assert sentence(STATS) == "1 of 2 cameras online (gate offline), 10.0 fps; broker b:1883 connected"  # type: ignore[arg-type]


def test_another_engine_than_the_bundles_comes_first_with_its_remedy() -> None:
    said = sentence(STATS, "the fallback serves; sightd convert --rebuild B")  # type: ignore[arg-type]
    assert said.startswith("NOT THE BUNDLE'S ENGINE: the fallback serves; sightd convert --rebuild B | 1 of 2 cameras")


def test_it_says_that_a_broker_refuses_us_since_when_and_what_it_denies_now() -> None:
    away = replace(STATS, publisher=Publisher(False, state="refused: Not authorized", state_s=35.4))
    assert sentence(away).endswith("; broker b:1883 not connected for 35 s (refused: Not authorized)")  # type: ignore[arg-type]
    gone = replace(STATS, publisher=Publisher(False, state="connecting"))
    assert sentence(gone).endswith("; broker b:1883 not connected for 60 s")  # type: ignore[arg-type]
    over = Publisher(True, denied=3, last_denial="flooded: a/+")
    assert sentence(replace(STATS, publisher=over)) == sentence(STATS)  # type: ignore[arg-type]
    denied = replace(STATS, publisher=replace(over, denies="Not authorized: a/b"))
    assert sentence(denied).endswith("; broker b:1883 connected, denies: Not authorized: a/b")  # type: ignore[arg-type]


def test_what_is_given_up_for_want_of_memory_comes_before_the_cameras() -> None:
    said = sentence(Stats(CAMERAS, Publisher(True), Memory(["calibration", "camera gate"])))  # type: ignore[arg-type]
    assert said.startswith("SHORT OF MEMORY, without calibration, camera gate | 1 of 2 cameras online")


def test_a_disk_that_does_not_take_the_events_comes_before_the_cameras_and_is_gone_when_it_does_again() -> None:
    failing = replace(STATS, outbox=Outbox("database or disk is full", 12))
    said = sentence(failing)  # type: ignore[arg-type]
    assert said.startswith("EVENTS ARE NOT STORED: database or disk is full (12 unsaved) | 1 of 2 cameras online")
    assert sentence(replace(STATS, outbox=Outbox("", 12))) == sentence(STATS)  # type: ignore[arg-type]
