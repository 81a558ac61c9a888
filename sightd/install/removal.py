"""The changes that take sightd off this machine: its programs, and with a purge its data too."""

from __future__ import annotations

import os
from typing import Iterator, Optional

from . import desired
from .changes import Change, Remove, Run
from .dropins import is_ours
from .layout import UNIT, Layout
from .machine import Service

__all__ = ["plan_uninstall"]


def plan_uninstall(layout: Layout, service: Optional[Service], *, user: bool, purge: bool) -> Iterator[Change]:
    """Settings, bundles, the state and the account stay, unless *purge*.

    :param service: None where systemd is not running.
    :param user: whether the daemon's account exists.
    """
    if service and (service.enabled or service.active):
        yield Run(("systemctl", "disable", "--now", UNIT))
    units = [*desired.nothing(layout.unit), *_drop_ins(layout, purge)]
    yield from units
    if service and units:
        yield Run(("systemctl", "daemon-reload"))
    yield from desired.nothing(layout.sysusers)
    yield from desired.nothing(layout.cache)
    if layout.command.is_symlink() and os.readlink(layout.command).startswith(f"{layout.home}/"):
        yield from desired.nothing(layout.command)
    if purge:
        yield from _data(layout, user)
    # Last what is running now.
    yield from desired.nothing(layout.current)
    yield from desired.nothing(layout.versions)
    if purge:
        yield from desired.nothing(layout.home)


def _drop_ins(layout: Layout, purge: bool) -> Iterator[Change]:
    """Without a purge those of the administrator stay."""
    there = [*layout.drop_ins.glob("*")]
    ours = [path for path in there if is_ours(path)]
    if purge or ours == there:
        yield from desired.nothing(layout.drop_ins)
    else:
        yield from map(Remove, ours)


def _data(layout: Layout, user: bool) -> Iterator[Change]:
    yield from desired.nothing(layout.settings)
    yield from desired.nothing(layout.state)
    if user:
        yield Run(("userdel", layout.service.partition(":")[0]))
