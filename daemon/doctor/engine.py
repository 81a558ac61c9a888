"""The bundle: whether it is whole, for this machine, out of the daemon's reach, and really runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

from sightd.bundle import Bundle, open_bundle
from sightd.errors import BundleError
from sightd.settings import EngineSettings

from .access import SERVICE_USER, may_write
from .finding import Area, Finding, parted
from .machine import Account, Machine, tail

__all__ = ["AREA", "check"]

AREA = Area("engine")

#: Loading a large TensorRT plan and warming it up; shorter than the doctor's own deadline.
_TRIAL_S = 13.0


def check(machine: Machine, folder: Path, settings: EngineSettings, service: Account) -> Iterator[Finding]:
    """From the manifest to a picture through the engine, which runs in a process of its own."""
    convert = f"sightd convert MODEL --calibration DIR --out {folder}"
    try:
        bundle = open_bundle(machine.path(folder))
    except BundleError as error:
        yield AREA.problem("bundle", *parted(str(error), convert))
        return
    yield _described(bundle)
    if service.name == SERVICE_USER:
        yield _protected(machine, folder, service)
    built_for = bundle.manifest.engine.machine
    if built_for and built_for != machine.architecture:
        yield AREA.problem(
            "machine", f"converted on {built_for}, this machine is {machine.architecture}", f"run here: {convert}"
        )
        return
    yield _trial(machine, bundle.folder, settings, convert)


def _described(bundle: Bundle) -> Finding:
    manifest = bundle.manifest
    name = f"{manifest.model.name}, {manifest.engine.precision} for {manifest.engine.kind}"
    return AREA.ok("bundle", f"{name}, {len(manifest.labels)} labels: whole")


def _protected(machine: Machine, folder: Path, service: Account) -> Finding:
    """Engines are code, and TensorRT's are machine code: who can write them is who runs here."""
    found = machine.stat(folder)
    if found is None or not may_write(service, found):
        return AREA.ok("protection", f"the user {service.name} can't change the bundle")
    return AREA.warning(
        "protection",
        f"the user {service.name}, whom the service runs as, can change the bundle, and so what it will run",
        f"sudo chown -R root:root {folder} && sudo chmod -R go-w {folder}",
    )


def _trial(machine: Machine, folder: Path, settings: EngineSettings, convert: str) -> Finding:
    options = (str(settings.threads), str(settings.max_batch))
    ran = machine.run_python("-m", f"{__package__}.engine_trial", str(folder), *options, timeout_s=_TRIAL_S)
    if ran.ok:
        times = json.loads(ran.out.strip().splitlines()[-1])
        return AREA.ok("trial", f"loaded in {times['load_s']:.1f} s, a picture takes {times['picture_ms']:.1f} ms")
    if ran.code is None:
        return AREA.warning("trial", f"not loaded within {_TRIAL_S:.0f} s", "try when the machine has less to do")
    if ran.code < 0:
        return AREA.problem("trial", f"loading it crashed the interpreter (signal {-ran.code})", f"run here: {convert}")
    return AREA.problem("trial", *parted(tail(ran.errors), f"mend what is said above about libraries, else: {convert}"))
