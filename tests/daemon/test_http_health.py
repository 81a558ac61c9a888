"""What probes are told."""

from __future__ import annotations

from email.message import Message
from pathlib import Path
from typing import Dict, List

import pytest

from daemon.http.endpoint import _Site
from daemon.http.exchange import plain
from daemon.http.health import LOADING, STARTED, Health


class Facts:
    """Of a daemon that is well."""

    def __init__(self) -> None:
        self.started, self.stopping, self.broker = True, False, "connected"
        self.stuck: List[str] = []
        self.cameras: Dict[str, str] = {"yard": "online", "gate": "offline", "spare": "disabled"}
        self.health = Health(
            lambda: self.started, lambda: self.stopping, lambda: self.stuck, lambda: self.broker, self.cameras
        )

    def told(self, path: str) -> str:
        """Status and lines."""
        answer = _Site(self.health, lambda: plain(200), None)(path, Message())  # type: ignore[arg-type]
        return f"{answer.status} {answer.body.decode()}"


@pytest.fixture
def facts() -> Facts:
    return Facts()


def test_all_is_well(facts: Facts) -> None:
    assert [facts.told(path) for path in ("/startup", "/live", "/ready")] == [
        f"200 {STARTED}\n",
        "200 live: yes\n",
        "200 ready: yes\n",
    ]


def test_while_models_load_it_lives_and_has_not_started(facts: Facts) -> None:
    facts.started = False
    assert facts.told("/startup") == f"503 {LOADING}\n"
    assert facts.told("/live").startswith("200")
    assert facts.told("/ready").startswith(f"503 {LOADING}\n")


def test_absent_cameras_and_brokers_are_no_reason_to_start_anew(facts: Facts) -> None:
    facts.broker = "refused: Not authorized"
    facts.cameras.update(yard="frozen")
    assert facts.told("/live").startswith("200")
    assert facts.told("/startup").startswith("200")
    assert facts.told("/ready") == (
        "503 no connection to the broker (refused: Not authorized)\nnone of 2 enabled cameras is online\n"
    )


@pytest.mark.parametrize("state", ["online", "slow", "corrupt"])
def test_one_camera_that_is_looked_at_is_enough(facts: Facts, state: str) -> None:
    facts.cameras.update(yard=state)
    assert facts.told("/ready").startswith("200")


@pytest.mark.parametrize("state", ["offline", "frozen", "disabled"])
def test_one_that_is_not_is_none(facts: Facts, state: str) -> None:
    facts.cameras.update(yard=state)
    assert facts.told("/ready").startswith("503 none of ")


def test_a_stage_that_hangs_is_named_without_its_paths(facts: Facts) -> None:
    facts.stuck = [f"inference of {Path('/opt/secret/bundle')}", "analysis"]
    assert facts.told("/live") == "503 no progress in inference\nno progress in analysis\n"
    assert facts.told("/ready").startswith("503 no progress in inference\n")


def test_on_its_way_out_it_is_not_ready(facts: Facts) -> None:
    facts.stopping = True
    assert facts.told("/ready") == "503 stopping\n"
    assert facts.told("/live").startswith("200")


@pytest.mark.parametrize("path", ["/", "", "/metric", "/metrics/", "/../metrics", "//live", "/live/x"])
def test_there_is_nothing_else(facts: Facts, path: str) -> None:
    assert facts.told(path) == "404 Not Found\n"
