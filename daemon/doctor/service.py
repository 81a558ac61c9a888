"""The systemd unit: installed, enabled, running, and its user's way to the GPU's and the cameras' devices."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional, Set

from sightd.settings import Settings

from . import sandbox
from .access import SERVICE_USER, may_write
from .finding import Area, Finding
from .machine import Account, Machine, tail

__all__ = ["AREA", "check"]

AREA = Area("service")

UNIT = "sightd.service"
_PROPERTIES = (
    *("LoadState", "UnitFileState", "ActiveState", "SubState", "NRestarts", "ExecMainStatus"),
    *("SupplementaryGroups", "DevicePolicy", "DeviceAllow"),
    *sandbox.PROPERTIES,
)
_DEVICES = ("/dev/nvmap", "/dev/nvhost-gpu", "/dev/nvidia0", "/dev/video*")
#: DeviceAllow= names some by their driver.
_DRIVERS = {"char-nvidia": "/dev/nvidia", "char-video4linux": "/dev/video"}
_MANY_RESTARTS = 10


def check(machine: Machine, settings: Optional[Settings]) -> Iterator[Finding]:
    """Without a unit only that; it is no fault, sightd runs by hand too."""
    ran = machine.run("systemctl", "show", UNIT, "--property", ",".join(_PROPERTIES))
    if ran is None or not ran.ok:
        yield AREA.note("unit", f"systemd can't be asked: {tail(ran.errors) if ran else 'systemctl is not installed'}")
        return
    unit = _properties(ran.out)
    if unit.get("LoadState") != "loaded":
        yield AREA.note("unit", "not installed: it will not start by itself", "sudo sightd install")
        return
    yield _enabled(unit)
    yield _active(unit)
    yield _user(machine, unit)
    if settings is not None:
        yield from sandbox.check(machine, settings, unit)


def _properties(text: str) -> Dict[str, str]:
    """Property -> value; those that stand on several lines (DeviceAllow) joined by spaces."""
    unit: Dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        unit[name] = f"{unit[name]} {value}" if name in unit else value
    return unit


def _enabled(unit: Dict[str, str]) -> Finding:
    if unit.get("UnitFileState") == "enabled":
        return AREA.ok("at boot", "starts by itself")
    return AREA.warning("at boot", "does not start when the machine does", "sudo systemctl enable sightd")


def _active(unit: Dict[str, str]) -> Finding:
    state = f"{unit.get('ActiveState')} ({unit.get('SubState')})"
    restarts = int(unit.get("NRestarts") or 0)
    if unit.get("ActiveState") == "active" and restarts <= _MANY_RESTARTS:
        return AREA.ok("state", state)
    if unit.get("ActiveState") == "active":
        return AREA.warning("state", f"{state}, but started again {restarts} times", "journalctl -u sightd -p warning")
    if unit.get("ExecMainStatus") == "2":
        fix = "sightd check-config, then sudo systemctl restart sightd"
        return AREA.problem("state", f"{state}: it refused the settings", fix)
    if unit.get("ActiveState") == "inactive":
        return AREA.warning("state", "not running", "sudo systemctl start sightd")
    return AREA.problem("state", f"{state}, started again {restarts} times", "journalctl -u sightd -n 50 says why")


def _user(machine: Machine, unit: Dict[str, str]) -> Finding:
    account = machine.account(SERVICE_USER)
    if account is None:
        return AREA.problem("user", f"the user {SERVICE_USER} does not exist", "sudo sightd install")
    gids = account.gids | _gids(machine, unit.get("SupplementaryGroups", "").split())
    account = Account(account.name, account.uid, gids)
    devices = [str(device) for pattern in _DEVICES for device in machine.glob(pattern)]
    if not devices:
        return AREA.ok("user", SERVICE_USER)
    closed = [device for device in devices if not _opens(machine, account, device) or not _lets(unit, device)]
    if closed:
        says = f"the service can't open {', '.join(closed)} (groups video and render, DeviceAllow= of the unit)"
        return AREA.problem("devices", says, "sudo sightd install && sudo systemctl restart sightd")
    return AREA.ok("devices", f"the user {SERVICE_USER} can open {', '.join(devices)}")


def _opens(machine: Machine, account: Account, device: str) -> bool:
    found = machine.stat(device)
    return found is None or may_write(account, found)


def _lets(unit: Dict[str, str], device: str) -> bool:
    if unit.get("DevicePolicy", "auto") == "auto" and not unit.get("DeviceAllow"):
        return True
    words: List[str] = unit.get("DeviceAllow", "").split()
    by_driver = any(word.startswith(name) and device.startswith(_DRIVERS[name]) for word in words for name in _DRIVERS)
    return device in words or by_driver


def _gids(machine: Machine, names: List[str]) -> Set[int]:
    groups = [line.split(":") for line in (machine.read("/etc/group") or "").splitlines()]
    return {int(fields[2]) for fields in groups if len(fields) >= 3 and fields[0] in names}
