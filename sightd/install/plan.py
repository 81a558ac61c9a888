"""The changes by which this machine differs from one that sightd is installed on."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from ..bundle_trust import check_place, check_trusted
from ..errors import BundleError, ConfigError, SightdError
from ..settings import Settings, json_schema, load_settings, parse_settings, starter
from . import desired
from .addresses import hosts_of, reach
from .changes import Change, HandOver, Run
from .dropins import CREDENTIALS, NETWORK, device_groups, drop_ins, is_ours
from .environment import BuildEnvironment, Recipe, built, find_built, in_use, new_folder, read_recipe, recipe_for
from .layout import UNIT, Layout
from .machine import Machine, Service
from .source import given_source, own_source

__all__ = ["Plan", "plan_install"]

#: systemd has LoadCredential= since then.
_CREDENTIALS_SINCE = 247


@dataclass(frozen=True)
class Plan:
    """What to do in this order, and what to tell the user afterwards."""

    changes: Tuple[Change, ...]
    notes: Tuple[str, ...] = ()


def plan_install(layout: Layout, machine: Machine, source: Optional[str] = None, start: Optional[bool] = None) -> Plan:
    """Install, upgrade or mend: all of it is the same question.

    :param source: what to install instead of what is running: a checkout, a wheel, a URL or a requirement.
    :param start: whether to start the service, unless it could not start; None: if there is something for it to do.
    :raises SightdError: something that is not ours is in the way, or *source* can't be used.
    :raises ConfigError: the service is running and could not be started again with its settings or bundles as they are.
    """
    recipe, notes, foreign = _choose(layout, machine, source)
    ready_made = find_built(layout, recipe)
    folder = ready_made or new_folder(layout, recipe)
    build = [] if ready_made else [BuildEnvironment(folder, recipe, machine.cuda)]
    if foreign and Path(sys.prefix).resolve() != folder.resolve():
        return Plan((*build, _hand_over(folder, machine, start)))
    settings, trouble = _settings(layout)
    if settings is not None:
        trouble = _refused(settings)
    swap = [*desired.link(layout.current, folder), *desired.link(layout.command, layout.current / "bin/sightd")]
    units = [*_units(layout, machine, settings)]
    if trouble and machine.service and machine.service.active and (swap or units):
        raise ConfigError(f"{trouble}\nthe service could not be started again as it is; mend that first")
    ready = settings is not None and not trouble and not _without_manifest(settings)
    changes = [
        *_account(layout, machine),
        *_folders(layout),
        *_settings_files(layout, machine),
        *build,
        *swap,
        *units,
        *_service(machine.service, bool(units), bool(swap), ready if start is None else start and not trouble),
        *_outdated(layout, folder),
    ]
    return Plan(tuple(changes), (*notes, *_next_steps(layout, machine, settings, trouble, ready)))


def _choose(layout: Layout, machine: Machine, given: Optional[str]) -> Tuple[Recipe, List[str], bool]:
    """The recipe, its notes, and whether its code may be other than what is running."""
    installed = None if given else read_recipe(Path(sys.prefix))
    if given:
        return (*recipe_for(machine, given_source(given)), True)
    if installed is None:
        return (*recipe_for(machine, own_source()), False)
    recipe, notes = recipe_for(machine, installed.source)
    if find_built(layout, recipe) is None and installed.source.path:  # built anew, it is what the folder holds now
        recipe, notes = recipe_for(machine, given_source(installed.source.text))
    return recipe, notes, True


def _hand_over(folder: Path, machine: Machine, start: Optional[bool]) -> HandOver:
    """The unit and settings are the new version's own to write, and so is the switch to it."""
    started = () if start is None else ("--start" if start else "--no-start",)
    return HandOver((str(folder / "bin/sightd"), "install", "--python", str(machine.python.path), *started))


def _settings(layout: Layout) -> Tuple[Optional[Settings], str]:
    """The settings, those yet to be written where there are none, or why they can't be used."""
    path = layout.config
    try:
        return load_settings(path) if path.exists() else parse_settings(starter({}, {}).encode(), path), ""
    except ConfigError as error:
        return None, str(error)


def _account(layout: Layout, machine: Machine) -> Iterator[Change]:
    name = layout.service.partition(":")[0]
    yield from desired.file(layout.sysusers, _packaged("sysusers.d/sightd.conf"), 0o644, layout.admin)
    if not machine.user and shutil.which("systemd-sysusers"):
        yield Run(("systemd-sysusers", str(layout.sysusers)))
    elif not machine.user:
        home = ("--home-dir", str(layout.state), "--no-create-home", "--shell", "/usr/sbin/nologin")
        yield Run(("useradd", "--system", "--user-group", *home, name))
    # The unit has these groups by itself; `sudo -u sightd sightd capture` has not.
    missing = [group for group in device_groups(machine) if group not in machine.member_of]
    if missing:
        yield Run(("usermod", "--append", "--groups", ",".join(missing), name))


def _folders(layout: Layout) -> Iterator[Change]:
    for path in (layout.home, layout.versions, layout.bundles, layout.settings):
        yield from desired.folder(path, 0o755, layout.admin)
    yield from desired.folder(layout.secrets, 0o750, layout.shared)
    yield from desired.folder(layout.state, 0o700, layout.service)


def _settings_files(layout: Layout, machine: Machine) -> Iterator[Change]:
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    yield from desired.file(layout.schema, schema, 0o644, layout.admin)
    if layout.config.exists():
        yield from desired.access(layout.config, 0o640, layout.shared)
    else:
        yield from desired.file(layout.config, starter({}, {}), 0o640, layout.shared)
    if not _has_credentials(machine):
        for path in _secrets(layout) or []:
            yield from desired.access(path, 0o640, layout.shared)


def _units(layout: Layout, machine: Machine, settings: Optional[Settings]) -> Iterator[Change]:
    yield from desired.file(layout.unit, _packaged(UNIT), 0o644, layout.admin)
    wanted = _drop_ins(layout, machine, settings)
    if wanted:
        yield from desired.folder(layout.drop_ins, 0o755, layout.admin)
    for name, text in wanted.items():
        yield from desired.file(layout.drop_ins / name, text, 0o644, layout.admin)
    for path in sorted(layout.drop_ins.glob("*")):
        if path.name not in wanted and is_ours(path):
            yield from desired.nothing(path)


def _drop_ins(layout: Layout, machine: Machine, settings: Optional[Settings]) -> Dict[str, str]:
    hosts = hosts_of(settings) if settings else []
    secrets = _secrets(layout)
    given = secrets if secrets and _has_credentials(machine) else []
    wanted = drop_ins(machine, reach([*hosts, *machine.nameservers]), given)
    # What can't be known now stays as it is: settings with a mistake in them, secrets that only root may list.
    unknown = {NETWORK: settings is None, CREDENTIALS: secrets is None}
    for path in (layout.drop_ins / name for name, is_unknown in unknown.items() if is_unknown):
        if path.is_file():
            wanted[path.name] = path.read_text("utf-8")
    return wanted


def _has_credentials(machine: Machine) -> bool:
    return machine.service is None or machine.service.version >= _CREDENTIALS_SINCE


def _secrets(layout: Layout) -> Optional[List[Path]]:
    """The files that have names which systemd takes; None: only root may look."""
    try:
        found = sorted(layout.secrets.iterdir()) if layout.secrets.is_dir() else []
    except PermissionError:
        return None
    return [path for path in found if path.is_file() and re.fullmatch(r"\w[\w.-]*", path.name, re.ASCII)]


def _service(service: Optional[Service], new_unit: bool, new_code: bool, start: bool) -> Iterator[Change]:
    if service is None:
        return
    if new_unit:
        yield Run(("systemctl", "daemon-reload"))
    if not service.enabled:
        yield Run(("systemctl", "enable", UNIT))
    if service.active and (new_unit or new_code):
        yield Run(("systemctl", "restart", UNIT))
    if start and not service.active:
        yield Run(("systemctl", "start", UNIT))


def _outdated(layout: Layout, folder: Path) -> Iterator[Change]:
    """All versions but the one wanted and the one before it, which is there to return to."""
    others = [path for path in built(layout) if path != folder]
    complete = [path for path in others if read_recipe(path)]
    current = in_use(layout)
    previous = current if current in complete else (complete[-1] if complete else None)
    for path in others:
        if path != previous:
            yield from desired.nothing(path)


def _next_steps(
    layout: Layout, machine: Machine, settings: Optional[Settings], trouble: str, ready: bool
) -> Iterator[str]:
    if machine.service is None:
        yield "systemd is not running here: the unit is in place, but neither enabled nor started"
    if settings is None:
        yield f"{trouble}\nnext: sudoedit {layout.config}; sightd check-config; sudo sightd install"
    elif trouble:
        yield f"{trouble}\nthe service is not started before that is mended; then: sudo sightd install"
    elif not ready:
        for bundle in _without_manifest(settings):
            yield (
                f"{bundle} holds no bundle yet; next: sudo sightd capture; sudo sightd convert MODEL "
                f"--calibration {settings.calibration.folder} --out {bundle}; sudo systemctl start sightd"
            )


def _refused(settings: Settings) -> str:
    """Which bundle the daemon would not run, and what to do; "": none."""
    missing = _without_manifest(settings)
    try:
        for bundle in settings.bundles:
            check = check_place if bundle in missing else check_trusted
            check(Path(bundle), settings.bundle_folders)
    except (BundleError, ConfigError) as error:
        return str(error)
    return ""


def _without_manifest(settings: Settings) -> List[str]:
    return [bundle for bundle in settings.bundles if not (Path(bundle) / "manifest.json").is_file()]


def _packaged(name: str) -> str:
    """The text of a file of systemd/, in the checkout or where setup.py put it."""
    for folder in (Path(__file__).resolve().parents[2] / "systemd", Path(sys.prefix) / "share/sightd/systemd"):
        if (folder / UNIT).is_file():
            return (folder / name).read_text("utf-8")
    raise SightdError(f"{UNIT} is missing from this installation of sightd; install it again")
