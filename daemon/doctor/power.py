"""Whether the machine may compute as fast as it could: power mode, clocks, heat."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, List, Optional

from .finding import Area, Finding
from .hardware import is_jetson
from .machine import Machine

__all__ = ["AREA", "check"]

AREA = Area("power")

_HOT_C = 85.0
_CPU0 = "/sys/devices/system/cpu/cpu0"
#: Their "powersave" is the usual governor, which does clock up under load.
_SELF_SCALING = ("intel_pstate", "amd-pstate-epp")


def check(machine: Machine) -> Iterator[Finding]:
    """Power mode or governor, temperatures, and throttling that happens or happened."""
    found = list(_reported(machine))
    yield from found or [AREA.note("mode", "this machine reports neither clocks nor temperatures")]


def _reported(machine: Machine) -> Iterator[Finding]:
    if is_jetson(machine):
        yield _power_mode(machine)
        yield from _clocks(machine)
    else:
        yield from _governor(machine)
    yield from _temperature(machine)
    yield from _throttling(machine)


def _power_mode(machine: Machine) -> Finding:
    ran = machine.run("nvpmodel", "-q")
    mode = re.search(r"NV Power Mode: *(\S+)", ran.out) if ran is not None else None
    if mode is None:
        return AREA.note("mode", "nvpmodel does not say", "run with sudo for this: sudo sightd doctor")
    if mode.group(1).startswith("MAXN"):
        return AREA.ok("mode", mode.group(1))
    models = re.findall(r"POWER_MODEL ID=(\d+) NAME=(MAXN\S*)", machine.read("/etc/nvpmodel.conf") or "")
    fix = f"sudo nvpmodel -m {models[-1][0]}" if models else "sudo nvpmodel -m ID, one of: nvpmodel -p --verbose"
    return AREA.warning(
        "mode", f"{mode.group(1)}: the module is held below its full power", f"{fix}, if its cooling allows"
    )


def _clocks(machine: Machine) -> Iterator[Finding]:
    if not machine.is_root:
        yield AREA.note("clocks", "jetson_clocks tells root only", "run with sudo for this: sudo sightd doctor")
        return
    ran = machine.run("jetson_clocks", "--show")
    gpu = re.search(r"GPU MinFreq=(\d+) MaxFreq=(\d+)", ran.out) if ran is not None else None
    if gpu is not None and gpu.group(1) != gpu.group(2):
        yield AREA.note(
            "clocks", "they follow the load, latency varies with them", "sudo jetson_clocks holds them at their highest"
        )
    elif gpu is not None:
        yield AREA.ok("clocks", f"the GPU is held at {int(gpu.group(2)) / 1e6:.0f} MHz")


def _governor(machine: Machine) -> Iterator[Finding]:
    governor = machine.read(f"{_CPU0}/cpufreq/scaling_governor")
    driver = machine.read(f"{_CPU0}/cpufreq/scaling_driver")
    if governor == "powersave" and driver not in _SELF_SCALING:
        yield AREA.note(
            "governor", "powersave holds the CPU at its lowest clock", "sudo cpupower frequency-set -g schedutil"
        )
    elif governor:
        yield AREA.ok("governor", governor)


def _temperature(machine: Machine) -> Iterator[Finding]:
    zones = {
        machine.read(zone.with_name("type")) or zone.parent.name: degrees
        for zone in machine.glob("/sys/class/thermal/thermal_zone*/temp")
        for degrees in [_degrees(machine, zone)]
        if degrees is not None
    }
    if not zones:
        return
    hottest = max(zones, key=lambda zone: zones[zone])
    says = f"{zones[hottest]:.0f} °C ({hottest})"
    if zones[hottest] > _HOT_C:
        yield AREA.warning(
            "temperature", f"{says}: close to throttling", "clean or add a fan, or choose a lower power mode"
        )
    else:
        yield AREA.ok("temperature", says)


def _degrees(machine: Machine, zone: Path) -> Optional[float]:
    """None where the sensor is off: reading it then fails."""
    text = machine.read(zone) or ""
    return int(text) / 1000 if re.fullmatch(r"-?\d+", text) else None


def _throttling(machine: Machine) -> Iterator[Finding]:
    """A Jetson's cooling devices named "...-throttle-alert" are in a state above 0 while they act."""
    devices = machine.glob("/sys/class/thermal/cooling_device*/cur_state")
    acting = [_type_of(machine, device) for device in devices if (machine.read(device) or "0") != "0"]
    names = [name for name in acting if "throttle" in name]
    if names:
        yield AREA.warning("throttling", f"clocks are held down by heat: {', '.join(names)}", "clean or add a fan")
    over_current = _count(machine, machine.glob("/sys/class/hwmon/hwmon*/oc*_event_cnt"))
    if over_current:
        yield AREA.warning(
            "over-current",
            f"{over_current} times since the start",
            "use a stronger power supply, or a lower power mode",
        )
    throttled = _count(machine, [Path(_CPU0, "thermal_throttle/package_throttle_count")])
    if throttled:
        yield AREA.note(
            "throttling", f"the CPU was throttled by heat {throttled} times since the start", "clean or add a fan"
        )


def _type_of(machine: Machine, state: Path) -> str:
    return machine.read(state.with_name("type")) or state.parent.name


def _count(machine: Machine, files: List[Path]) -> int:
    texts = [machine.read(file) or "" for file in files]
    return sum(int(text) for text in texts if text.isdecimal())
