"""How much memory the service takes, and how much it may: what its control group says, else what its processes do.

systemd puts a service into a control group (cgroup) of its own, with MemoryHigh= and MemoryMax= as its limits: above
the first the kernel slows it down, at the second it is killed. Memory that the kernel takes back at need, its cache of
files, is not counted: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set

__all__ = ["MemoryGauge", "Usage"]

_V2_LIMITS = ("memory.high", "memory.max")
_V1_LIMITS = ("memory.limit_in_bytes",)
#: What version 1 says where there is no limit: the largest number of whole pages.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Usage:
    """Memory in bytes."""

    used: int
    #: 0: none is known.
    limit: int

    @property
    def share(self) -> float:
        """Of the limit; 0 where there is none."""
        return self.used / self.limit if self.limit else 0.0


class MemoryGauge:
    """Reads the memory of this process, its children included.

    :param limit: bytes that they may take; 0: only the limit of the control group counts, if it is ours alone.
    :param proc: where the proc file system is.
    :param groups: where those of control groups are.
    """

    def __init__(self, limit: int = 0, *, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._limit, self._proc, self._groups = limit, proc, groups

    def read(self) -> Usage:
        """How it is now, by the limit that is nearest."""
        tree = self._tree()
        group = self._group(tree)
        own = Usage(sum(self._resident(pid, shared=pid == os.getpid()) for pid in tree), self._limit)
        return own if group is None or own.share > group.share else group

    def _tree(self) -> Set[int]:
        """Our process and all below it, as far as they can be seen."""
        try:
            parents = {int(path.name): self._parent(path) for path in self._proc.glob("[0-9]*")}
        except OSError:  # no descriptor is left to look with
            parents = {}
        tree = {os.getpid()}
        while True:
            more = {pid for pid, parent in parents.items() if parent in tree} - tree
            if not more:
                return tree
            tree |= more

    def _parent(self, process: Path) -> int:
        try:
            stat = (process / "stat").read_text("utf-8", "replace")
        except OSError:  # it has ended
            return 0
        return int(stat.rpartition(")")[2].split()[1])  # the name in front, in parentheses, may hold anything

    def _resident(self, pid: int, *, shared: bool) -> int:
        """Its own memory; what it shares with others of the tree is counted at one of them."""
        try:
            status = (self._proc / str(pid) / "status").read_text("utf-8", "replace")
        except OSError:
            return 0
        sizes = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
        return sizes.get("VmRSS", 0) if shared else sizes.get("RssAnon", 0)

    def _group(self, tree: Set[int]) -> Optional[Usage]:
        """None where our control group has no limit, or other processes in it."""
        for folder in self._folders():
            limit = min(_limits(folder), default=0)
            members = _numbers(folder / "cgroup.procs")
            if limit and members and set(members) <= tree:
                return Usage(_used(folder), limit)
        return None

    def _folders(self) -> Iterator[Path]:
        """Where our group may be found; a container sees its own at the top."""
        try:
            lines = (self._proc / "self/cgroup").read_text("utf-8").splitlines()
        except OSError:
            return
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                top = self._groups / "memory" if controllers else self._groups
                yield from (top / path.lstrip("/"), top)


def _limits(folder: Path) -> List[int]:
    found = [limit for name in (*_V2_LIMITS, *_V1_LIMITS) for limit in _numbers(folder / name)]
    return [limit for limit in found if limit < _NO_LIMIT]


def _used(folder: Path) -> int:
    """Without files that the kernel holds only as long as nobody needs the memory."""
    current = _numbers(folder / "memory.current") or _numbers(folder / "memory.usage_in_bytes")
    stat = _stat(folder / "memory.stat")
    cached = sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in ("active_file", "inactive_file"))
    return max(0, sum(current) - cached)


def _stat(path: Path) -> Dict[str, int]:
    try:
        return {name: int(value) for name, value in map(str.split, path.read_text("ascii").splitlines())}
    except (OSError, ValueError):
        return {}


def _numbers(path: Path) -> List[int]:
    """The numbers in a file, one a line; "max" is none, and so is a file that is missing."""
    try:
        return [int(word) for word in path.read_text("ascii").split() if word.isdecimal()]
    except OSError:
        return []
