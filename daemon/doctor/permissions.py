"""Files: secrets that others can read, and what the service's user can't read or write."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Dict, Iterator, Set

from sightd.redact import redact
from sightd.settings import Settings

from .access import SERVICE_USER, closed_folder, may_read, may_write
from .finding import Area, Finding
from .machine import Account, Machine

__all__ = ["AREA", "check"]

AREA = Area("permissions")

#: Made by systemd, for the unit's StateDirectory=.
_STATE = Path("/var/lib/sightd")


def check(machine: Machine, settings: Settings, config: Path, service: Account) -> Iterator[Finding]:
    """The settings file, the files of secrets that it names, and the state folder."""
    config = config.absolute()
    if _holds_password(settings):
        yield _secret(machine, "settings file", config, service, "holds a password and ")
    else:
        yield _readable(machine, "settings file", config, service)
    for path, name in _secret_files(settings).items():
        yield _secret(machine, name, path, service, "")
    for name, folder, loss in (
        ("calibration.folder", settings.calibration.folder, "no frame is kept for the next conversion"),
        ("outbox.folder", settings.outbox.folder, "events are kept in memory only, and lost at the end"),
    ):
        yield _writable(machine, name, folder, loss, service)


def _holds_password(settings: Settings) -> bool:
    urls = [camera.url.get_secret_value() for camera in settings.cameras.values()]
    return settings.mqtt.password is not None or any(redact(url) != url for url in urls)


def _secret_files(settings: Settings) -> Dict[Path, str]:
    """Each file once, and the first setting that names it."""
    named = [(camera.password_file, f"cameras.{name}.password_file") for name, camera in settings.cameras.items()]
    named += [(settings.mqtt.password_file, "mqtt.password_file"), (settings.mqtt.tls.key_file, "mqtt.tls.key_file")]
    named += [(settings.http.token_file if settings.http.port else None, "http.token_file")]
    return {path: key for path, key in reversed(named) if path is not None}


def _secret(machine: Machine, name: str, path: Path, service: Account, why: str) -> Finding:
    found = machine.stat(path)
    if found is not None and found.st_mode & stat.S_IRWXO:
        says = f"{path} {why}is open to every user of this machine ({stat.filemode(found.st_mode)})"
        return AREA.problem(name, says, _take(service, path))
    if path in _credentials(machine):
        return AREA.ok(name, f"{path}: systemd hands it to the service")
    return _readable(machine, name, path, service)


def _credentials(machine: Machine) -> Set[Path]:
    """Files that the unit's drop-ins name with LoadCredential=, which systemd reads as root."""
    texts = [machine.read(path) or "" for path in machine.glob("/etc/systemd/system/sightd.service.d/*.conf")]
    return {Path(path) for text in texts for path in re.findall(r"^LoadCredential=[^:\n]+:(.+)$", text, re.MULTILINE)}


def _take(service: Account, path: Path) -> str:
    """Gives *path* to root and the service's group, and to nobody else."""
    owner = f"sudo chown root:{service.name} {path} && " if service.name == SERVICE_USER else ""
    return f"{owner}sudo chmod 640 {path}"


def _readable(machine: Machine, name: str, path: Path, service: Account) -> Finding:
    if machine.hidden(path):
        return _hidden(name, path)
    found = machine.stat(path)
    if found is None:
        return AREA.problem(name, f"{path} is missing", "write it, or correct its path in the settings")
    closed = closed_folder(service, machine, path)
    if closed is not None:
        return _shut_out(name, closed, service)
    if may_read(service, found):
        return AREA.ok(name, f"{path}: {stat.filemode(found.st_mode)}, readable by {service.name}")
    says = f"{path} can't be read by the user {service.name}, whom the service runs as"
    return AREA.problem(name, says, _take(service, path))


def _writable(machine: Machine, name: str, folder: Path, loss: str, service: Account) -> Finding:
    if machine.hidden(folder):
        return _hidden(name, folder)
    if service.name == SERVICE_USER and _STATE in (folder, *folder.parents) and machine.stat(_STATE) is None:
        return AREA.ok(name, f"{folder}: systemd makes {_STATE} when the service first starts")
    nearest = next(path for path in (folder, *folder.parents) if machine.stat(path) is not None)
    found = machine.stat(nearest)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return AREA.problem(name, f"{nearest} is no folder", "name another folder in the settings")
    closed = closed_folder(service, machine, nearest)
    if closed is not None:
        return _shut_out(name, closed, service)
    if may_write(service, found):
        return AREA.ok(name, f"{folder}: writable by {service.name}")
    says = f"{nearest} can't be written by the user {service.name}: {loss}"
    return AREA.problem(name, says, f"sudo install -d -o {service.name} -g {service.name} -m 750 {folder}")


def _hidden(name: str, path: Path) -> Finding:
    return AREA.note(name, f"{path} can't be looked at", "run with sudo for this: sudo sightd doctor")


def _shut_out(name: str, closed: Path, service: Account) -> Finding:
    return AREA.problem(name, f"the folder {closed} is closed to the user {service.name}", f"sudo chmod o+x {closed}")
