"""Room on the disks that sightd writes to."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from sightd.settings import CalibrationSettings

from .finding import Area, Finding
from .machine import Machine, Space

__all__ = ["AREA", "check"]

AREA = Area("disk")

_FULL_BYTES = 200 << 20
_LOW_BYTES = 2 << 30
_LOW_INODES = 0.05


def check(machine: Machine, calibration: CalibrationSettings, outbox: Path, bundle: Path) -> Iterator[Finding]:
    """The folders of frames and of events, which the daemon writes to, and the one of bundles, the converter's."""
    yield _room(machine, "calibration frames", calibration.folder, "lower calibration.max_mb in the settings")
    yield _room(machine, "events", outbox, "lower outbox.max_mb in the settings")
    yield _room(machine, "bundles", bundle, "remove bundles that are not used")


def _room(machine: Machine, name: str, folder: Path, remedy: str) -> Finding:
    space = machine.space(folder)
    if space is None:
        return AREA.note(name, f"{folder}: the file system does not say how full it is")
    says = f"{folder}: {_size(space.free_bytes)} free"
    fix = f"see what fills it: sudo du -xh --max-depth=2 {folder.anchor} | sort -h | tail; or {remedy}"
    if space.read_only:
        return AREA.problem(
            name, f"{folder}: the file system is read-only", "dmesg says why; check the disk, then restart"
        )
    if _few_inodes(space):
        return AREA.problem(name, f"{says}, but hardly any inode: too many small files", fix)
    if space.free_bytes < _FULL_BYTES:
        return AREA.problem(name, says, fix)
    if space.free_bytes < _LOW_BYTES:
        return AREA.warning(name, says, fix)
    return AREA.ok(name, says)


def _few_inodes(space: Space) -> bool:
    return space.inodes > 0 and space.free_inodes < min(1000, _LOW_INODES * space.inodes)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MB"
