"""Runs every check side by side, each within its time, and gathers what they found in a fixed order."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from sightd.errors import ConfigError
from sightd.settings import Settings, load_settings

from . import (
    broker,
    cameras,
    clock,
    disk,
    engine,
    hardware,
    http,
    libraries,
    memory,
    models,
    opencv,
    permissions,
    power,
    python_packages,
    service,
)
from .access import service_account
from .finding import Area, Finding
from .machine import Machine

__all__ = ["Check", "examine", "run_checks"]

#: When the slowest check is given up; all run at the same time.
DEADLINE_S = 14.0


class Check(NamedTuple):
    """One file's look at one thing."""

    area: Area
    find: Callable[[], Iterable[Finding]]
    #: Under which it is told that the check itself failed.
    name: str = "check"


def examine(machine: Machine, config: Path) -> List[Finding]:
    """Everything there is to say about *machine* and the settings in *config*, within about 15 s; raises nothing."""
    settings, found = _read_settings(config)
    checks = [
        Check(hardware.AREA, partial(hardware.check, machine)),
        Check(python_packages.AREA, partial(python_packages.check, machine)),
        Check(libraries.AREA, partial(libraries.check, machine)),
        Check(opencv.AREA, partial(opencv.check, machine)),
        Check(clock.AREA, partial(clock.check, machine)),
        Check(power.AREA, partial(power.check, machine)),
        Check(memory.AREA, partial(memory.check, machine)),
        Check(service.AREA, partial(service.check, machine, settings)),
    ]
    if settings is not None:
        checks += _checks_of_settings(machine, settings, config)
    return found + run_checks(checks, DEADLINE_S)


def run_checks(checks: List[Check], deadline_s: float) -> List[Finding]:
    """The findings of all *checks*, in their order. One that fails or is not done in time is itself a problem."""
    running = [_Running(check) for check in checks]
    ends_at = time.monotonic() + deadline_s
    return [finding for check in running for finding in check.collect(ends_at, deadline_s)]


def _read_settings(config: Path) -> Tuple[Optional[Settings], List[Finding]]:
    area = Area("settings")
    try:
        settings = load_settings(config)
    except ConfigError as error:
        if not os.path.lexists(config):
            return None, [area.problem("file", f"{config}: no such file", f"sightd init {config}")]
        correct = f"correct it, then: sightd check-config {config}"
        fix = correct if os.access(config, os.R_OK) else "sudo sightd doctor"
        return None, [area.problem("file", line, fix) for line in str(error).splitlines()]
    enabled = sum(camera.enabled for camera in settings.cameras.values())
    return settings, [area.ok("file", f"{config}: no mistakes found, {enabled} of {len(settings.cameras)} cameras on")]


def _checks_of_settings(machine: Machine, settings: Settings, config: Path) -> List[Check]:
    account = service_account(machine)
    return [
        Check(permissions.AREA, partial(permissions.check, machine, settings, config, account)),
        Check(disk.AREA, partial(disk.check, machine, settings.calibration, settings.outbox.folder, settings.bundle)),
        *(
            Check(
                engine.AREA,
                partial(engine.check, machine, Path(bundle), settings.engine, account, label),
                f"check{label}",
            )
            for bundle, label in _labelled(settings.bundles).items()
        ),
        Check(models.AREA, partial(models.check, machine, settings)),
        Check(broker.AREA, partial(broker.check, settings)),
        Check(http.AREA, partial(http.check, machine, settings.http, account)),
        *(
            Check(cameras.AREA, partial(cameras.check, name, camera, config, Path(settings.bundle_of(name))), name)
            for name, camera in settings.cameras.items()
        ),
    ]


def _labelled(bundles: List[str]) -> Dict[str, str]:
    """What is put behind the findings about each; nothing where there is one."""
    return {bundle: f" of {bundle}" if len(bundles) > 1 else "" for bundle in bundles}


class _Running:
    """A check under way on a thread of its own, which is left behind when it does not come back."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: List[Finding] = []
        name = f"doctor-{check.area.title}-{check.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def collect(self, ends_at: float, deadline_s: float) -> List[Finding]:
        self._thread.join(max(0.0, ends_at - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            says = f"not finished after {deadline_s:.0f} s: what it looks at does not answer"
            found.append(self._failed(says, "look at the machine's load (top), then try again"))
        return found

    def _run(self) -> None:
        try:
            for finding in self._check.find():
                self._found.append(finding)
        except Exception as error:  # one broken check must not hide what the others found
            says = f"the check itself failed: {type(error).__name__}: {error}"
            self._found.append(self._failed(says, "report it, with the output of: sightd doctor --json"))

    def _failed(self, says: str, fix: str) -> Finding:
        return self._check.area.problem(self._check.name, says, fix)
