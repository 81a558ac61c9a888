"""All scenarios by name, each with as much as the effort allows: what the tests assert on and the bench prints."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List

from tests.chaos.broker_faults import broker_faults
from tests.chaos.camera_faults import camera_faults
from tests.chaos.command_fuzz import command_fuzz
from tests.chaos.coverage_fuzz import coverage_fuzz
from tests.chaos.effort import FULL_S, Effort
from tests.chaos.event_faults import event_faults
from tests.chaos.faults import CAMERA_FAULTS
from tests.chaos.flips import bit_flips
from tests.chaos.full_disk import full_disk
from tests.chaos.fuzz import fuzz_settings
from tests.chaos.isolation import UnavailableError, isolated
from tests.chaos.network_faults import network_faults
from tests.chaos.outcome import Outcome
from tests.chaos.power_cuts import power_cuts
from tests.chaos.sigterm import sigterm
from tests.chaos.spool_damage import damaged_spools

__all__ = ["INSIDE", "SCENARIOS"]

#: What a scenario is: it works in an empty folder.
Scenario = Callable[[Path, Effort], List[Outcome]]


def _cameras(folder: Path, effort: Effort) -> List[Outcome]:
    """One fault after the other where there is time, else all at once."""
    groups = [[name] for name in CAMERA_FAULTS] if effort.full else [list(CAMERA_FAULTS)]
    return camera_faults(folder, effort.seed, 10 if effort.full else 7, groups)


def _brokers(folder: Path, effort: Effort) -> List[Outcome]:
    return broker_faults(folder, effort.seed, effort.times(5), 10 if effort.full else 2)


def _events(folder: Path, effort: Effort, persistence: str = "autosave_on_changes") -> List[Outcome]:
    return event_faults(folder, effort.seed, effort.times(10, 3), effort.times(7, 2), persistence)


def _coverage(folder: Path, effort: Effort) -> List[Outcome]:
    if not effort.full:
        raise UnavailableError(f"only with SIGHTD_CHAOS_SECONDS={FULL_S} or more")
    return coverage_fuzz(folder, effort.seed, 60)


#: Those that work only in a namespace of their own, which is another process.
INSIDE: Dict[str, Scenario] = {
    "network": lambda folder, effort: network_faults(folder, effort.seed, 30 if effort.full else 6),
    "disk": lambda folder, effort: full_disk(folder, 800, effort.times(15_000, 4000)),
    "power": lambda folder, effort: power_cuts(folder, effort.seed, effort.times(10, 3)),
}
SCENARIOS: Dict[str, Scenario] = {
    "cameras": _cameras,
    "network": lambda folder, effort: isolated("--net", "network", folder, effort),
    "brokers": _brokers,
    "events": _events,
    "events-volatile": lambda folder, effort: _events(folder, effort, "default persistence"),
    "disk": lambda folder, effort: isolated("--mount", "disk", folder, effort),
    "power": lambda folder, effort: isolated("--mount", "power", folder, effort),
    "spools": lambda folder, effort: damaged_spools(folder, effort.seed, 300),
    "sigterm": lambda folder, effort: sigterm(folder, effort.seed, effort.times(10, 2)),
    "flips": lambda folder, effort: bit_flips(folder, effort.seed, 300),
    "commands": lambda folder, effort: command_fuzz(folder, effort.seed, 1000),
    "settings": lambda folder, effort: fuzz_settings(effort.seed, 300),
    "settings-coverage": _coverage,
}
