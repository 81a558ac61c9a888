"""The bundle: whether it is whole, out of the daemon's reach, for this machine, and really runs; else what does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, Mapping

from sightd.bundle import Bundle, check_engine_file, open_bundle
from sightd.errors import BundleError
from sightd.golden import read_golden
from sightd.manifest import EngineRecord
from sightd.settings import EngineSettings

from .access import SERVICE_USER, may_write
from .finding import Area, Finding, parted
from .machine import Account, Machine, tail

__all__ = ["AREA", "check"]

AREA = Area("engine")

#: Loading a large TensorRT plan and warming it up; shorter than the doctor's own deadline.
_TRIAL_S = 13.0


def check(
    machine: Machine, folder: Path, settings: EngineSettings, service: Account, label: str = ""
) -> Iterator[Finding]:
    """From the manifest to a picture through the engine, which runs in a process of its own.

    :param label: tells the findings from those about another bundle.
    """
    for finding in _check(machine, folder, settings, service):
        yield replace(finding, name=f"{finding.name}{label}")


def _check(machine: Machine, folder: Path, settings: EngineSettings, service: Account) -> Iterator[Finding]:
    convert = f"sightd convert MODEL --calibration DIR --out {folder}"
    try:
        bundle = open_bundle(machine.path(folder))
    except BundleError as error:
        yield AREA.problem("bundle", *parted(str(error), convert))
        return
    yield _described(bundle)
    yield from _kept_for_need(bundle, convert)
    if service.name == SERVICE_USER:
        yield _protected(machine, folder, service)
    yield _trial(machine, bundle.folder, settings, convert)


def _described(bundle: Bundle) -> Finding:
    manifest = bundle.manifest
    name = f"{manifest.model.name}, {manifest.engine.precision} for {manifest.engine.kind}"
    return AREA.ok("bundle", f"{name}{_built(manifest.engine)}, {len(manifest.labels)} labels: whole")


def _built(engine: EngineRecord) -> str:
    """What a TensorRT engine was built by and for: it runs with nothing else."""
    versions = engine.versions
    if "tensorrt" not in versions:
        return ""
    gpu = f" for compute capability {versions['sm']}" if "sm" in versions else ""
    device = f" ({versions['device']})" if "device" in versions else ""
    return f", built by TensorRT {versions['tensorrt']}{gpu}{device}"


def _kept_for_need(bundle: Bundle, convert: str) -> Iterator[Finding]:
    """What is read only when the engine is loaded, or does not load: its golden picture and its fallback."""
    try:
        read_golden(bundle)
    except BundleError as error:
        yield AREA.warning("golden picture", *parted(str(error), convert))
    fallback = bundle.manifest.fallback
    if fallback is None:
        return
    try:
        check_engine_file(bundle.folder, fallback)
    except BundleError as error:
        yield AREA.warning("fallback", *parted(str(error), convert))
    else:
        yield AREA.ok("fallback", f"{fallback.precision} for {fallback.kind}: whole")


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
    options = (str(settings.threads), str(settings.max_batch), settings.preprocess)
    ran = machine.run_python("-m", f"{__package__}.engine_trial", str(folder), *options, timeout_s=_TRIAL_S)
    if ran.ok:
        return _tried(json.loads(ran.out.strip().splitlines()[-1]), convert)
    if ran.code is None:
        return AREA.warning("trial", f"not loaded within {_TRIAL_S:.0f} s", "try when the machine has less to do")
    if ran.code < 0:
        return AREA.problem("trial", f"loading it crashed the interpreter (signal {-ran.code})", f"run here: {convert}")
    return AREA.problem("trial", *parted(tail(ran.errors), f"mend what is said above about libraries, else: {convert}"))


def _tried(found: Mapping[str, Any], convert: str) -> Finding:
    """What engine_trial printed; another engine than the bundle's own works, but not well."""
    release = found["versions"].get("tensorrt")
    by = f" by TensorRT {release}" if release else ""
    times = f"loaded in {found['load_s']:.1f} s{by}, a picture takes {found['picture_ms']:.1f} ms"
    if not found["fallback_reason"]:
        return AREA.ok("trial", times)
    says, fix = parted(found["fallback_reason"], convert)
    return AREA.warning("trial", f"{says}; {times}", fix)
