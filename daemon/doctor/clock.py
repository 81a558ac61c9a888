"""The wall clock: detections carry its time, and certificates are judged by it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Iterator

from .finding import Area, Finding
from .machine import Machine, tail

__all__ = ["AREA", "check"]

AREA = Area("clock")

#: Before this year, the clock was never set: a Jetson without a battery starts in 1970 or in its image's year.
_SENSIBLE_YEAR = 2024


def check(machine: Machine) -> Iterator[Finding]:
    """Its time, and whether something keeps it right."""
    now = datetime.fromtimestamp(machine.now, timezone.utc)
    if now.year < _SENSIBLE_YEAR:
        yield AREA.problem(
            "time",
            f"it is said to be {now:%Y-%m-%d}: times in messages are wrong and TLS fails",
            f"sudo date -s '{_SENSIBLE_YEAR}-01-31 12:00' with today's date, and sudo timedatectl set-ntp true",
        )
    else:
        yield AREA.ok("time", f"{now:%Y-%m-%d %H:%M:%S} UTC")
    yield _synchronised(machine)


def _synchronised(machine: Machine) -> Finding:
    ran = machine.run("timedatectl", "show")
    if ran is None or not ran.ok:
        return AREA.note("sync", f"can't tell: {tail(ran.errors) if ran else 'timedatectl is not installed'}")
    lines = ran.out.splitlines()
    if "NTPSynchronized=yes" in lines:
        return AREA.ok("sync", "synchronised")
    if "NTP=yes" in lines:
        return AREA.warning(
            "sync",
            "no time server was reached",
            "see timedatectl timesync-status, and set NTP= in /etc/systemd/timesyncd.conf",
        )
    if "NTP=no" in lines:
        return AREA.warning("sync", "not synchronised: it drifts by seconds a day", "sudo timedatectl set-ntp true")
    return AREA.warning("sync", "nothing sets it, so it drifts by seconds a day", "sudo apt install systemd-timesyncd")
