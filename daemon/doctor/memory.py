"""Memory that is free, and swap for conversions on small machines."""

from __future__ import annotations

import re
from typing import Iterator

from .finding import Area, Finding
from .hardware import is_jetson
from .machine import Machine

__all__ = ["AREA", "check"]

AREA = Area("memory")

_LOW_MB = 500
_SMALL_MB = 8 << 10


def check(machine: Machine) -> Iterator[Finding]:
    """What /proc/meminfo says."""
    text = machine.read("/proc/meminfo") or ""
    mb = {name: int(kilobytes) >> 10 for name, kilobytes in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    if "MemAvailable" not in mb:
        yield AREA.note("free", "/proc/meminfo does not say")
        return
    says = f"{mb['MemAvailable']} of {mb['MemTotal']} MB available"
    if mb["MemAvailable"] < _LOW_MB:
        yield AREA.warning(
            "free", says, "see what uses it: ps aux --sort -rss | head; on a Jetson, run without a desktop"
        )
    else:
        yield AREA.ok("free", says)
    if is_jetson(machine) and not mb.get("SwapTotal") and mb["MemTotal"] <= _SMALL_MB:
        yield AREA.note(
            "swap",
            "there is none, and a conversion may need more than is free",
            "sudo sh -c 'fallocate -l 8G /swap && chmod 600 /swap && mkswap /swap && swapon /swap'",
        )
