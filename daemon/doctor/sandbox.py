"""What the unit keeps the daemon from: addresses, folders and devices that the settings or the engine need."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Dict, Iterator, List, Tuple, Union

from sightd.settings import Settings
from sightd.settings.camera_url import hosts

from .finding import Area, Finding
from .machine import Machine

__all__ = ["PROPERTIES", "check"]

_service = Area("service")

#: The unit's properties that are looked at, as `systemctl show` names them.
PROPERTIES = (
    "IPAddressAllow",
    "IPAddressDeny",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "StateDirectory",
    "ReadWritePaths",
)

_INSTALL = "sudo sightd install && sudo systemctl restart sightd"
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  (named, not used)

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def check(machine: Machine, settings: Settings, unit: Dict[str, str]) -> Iterator[Finding]:
    """What of *settings* is out of reach for a daemon started by *unit* (property -> value)."""
    yield from _hidden(settings, unit)
    yield from _read_only(settings, unit)
    if unit.get("IPAddressDeny"):
        yield from _network(machine, settings, unit)


def _hidden(settings: Settings, unit: Dict[str, str]) -> Iterator[Finding]:
    closed = [*_HOMES] if unit.get("ProtectHome") in ("yes", "tmpfs") else []
    closed += _TEMPORARY if unit.get("PrivateTmp") == "yes" else []
    bundles = settings.bundles
    paths = {f"bundle {bundle}" if len(bundles) > 1 else "the bundle": bundle for bundle in bundles}
    for name, camera in settings.cameras.items():
        paths[f"camera {name}"] = camera.url.get_secret_value()
    for name, path in paths.items():
        if any(path.startswith(f"{folder}/") for folder in closed):
            place = "/opt/sightd/bundles" if path in bundles else "/var/lib/sightd"
            yield _service.problem(
                name,
                f"the unit does not let the daemon see {path}",
                f"move it to {place} and name that in the settings",
            )


def _read_only(settings: Settings, unit: Dict[str, str]) -> Iterator[Finding]:
    state = [f"/var/lib/{name}" for name in unit.get("StateDirectory", "").split()]
    writable = [Path(path.lstrip("-+")) for path in [*state, *unit.get("ReadWritePaths", "").split()]]
    for name, folder, loss in (
        ("calibration.folder", settings.calibration.folder, "no frame is kept for the next conversion"),
        ("outbox.folder", settings.outbox.folder, "events are kept in memory only"),
    ):
        if unit.get("ProtectSystem") == "strict" and not any(path in (folder, *folder.parents) for path in writable):
            yield _service.warning(
                name,
                f"the unit lets the daemon read {folder}, not write: {loss}",
                f"name a folder below /var/lib/sightd, or add ReadWritePaths={folder} with: sudo systemctl edit sightd",
            )


def _network(machine: Machine, settings: Settings, unit: Dict[str, str]) -> Iterator[Finding]:
    """The unit's packet filter drops silently what it does not let through."""
    allowed, denied = unit.get("IPAddressAllow", "").split(), unit["IPAddressDeny"].split()
    blocked = False
    for name, host in _hosts(machine, settings):
        for address in _resolve(host):
            if _within(address, denied) and not _within(address, allowed):
                blocked = True
                named = host if host == str(address) else f"{host} ({address})"
                says = f"{named} is not in the unit's IPAddressAllow: the daemon can't reach it"
                yield _service.warning(f"network to {name}", says, _INSTALL)
    if not blocked:
        yield _service.ok("network", "the unit's IPAddressAllow covers the broker and all cameras")


def _hosts(machine: Machine, settings: Settings) -> List[Tuple[str, str]]:
    first, *others = [host for host, _ in settings.mqtt.addresses]
    found = [("the broker", first), *((f"the broker {host}", host) for host in others)]
    for name, camera in settings.cameras.items():
        if camera.enabled:
            found += [(f"camera {name}", host) for host in hosts(camera.url.get_secret_value())]
    if not all(_is_address(host) for _, host in found):
        lines = [line.split() for line in (machine.read("/etc/resolv.conf") or "").splitlines()]
        found += [("the name server", words[1]) for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    return found


def _resolve(host: str) -> List[_Address]:
    """Empty for a name that is not known: the checks of broker and cameras say so."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return []
    return sorted((ipaddress.ip_address(address) for address in found), key=str)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _within(address: _Address, networks: List[str]) -> bool:
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)
