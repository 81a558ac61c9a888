"""How much memory a TensorRT build may take, and what is tried next when one fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from sightd.errors import BuildError

from .tensorrt_order import Facts

__all__ = ["LEAST_FREE_MB", "MEMINFO", "RESERVE_MB", "Attempt", "Limits", "available_mb", "check_free", "limits"]

MEMINFO = Path("/proc/meminfo")
#: A worker has CUDA's and TensorRT's libraries in memory before it builds anything.
LEAST_FREE_MB = 1024
#: Left to the rest of the machine; a worker that takes it is killed, before the kernel kills the daemon.
RESERVE_MB = 256
_WORKSPACE_SHARE = 0.5
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class Limits:
    """For TensorRT's memory pools."""

    workspace_mb: int
    #: 0: none is set, TensorRT's own suffices.
    tactic_dram_mb: int


@dataclass(frozen=True)
class Attempt:
    """One try out of several."""

    #: Of the workspace that the free memory allows.
    share: float = 1.0
    #: Whether layers must compute in the precision asked for.
    obey: bool = True
    #: Whether there are such layers.
    pinned: bool = True

    def next(self, failure: str) -> Optional[Attempt]:
        """What to try after a failure of this kind (:class:`.Failed`); None: nothing."""
        if failure in ("memory", "crash") and self.share > _LEAST_SHARE:
            return replace(self, share=self.share / 2)
        if failure == "implementation" and self.pinned and self.obey:
            return replace(self, obey=False)
        return None

    def __str__(self) -> str:
        workspace = "all" if self.share == 1 else f"1/{1 / self.share:.0f}"
        return f"{workspace} of the workspace{'' if self.obey else ', precisions only preferred'}"


def limits(facts: Facts, available: int, workspace_mb: int, share: float) -> Limits:
    """What a build may take now.

    On an integrated GPU its memory is the machine's: TensorRT's default for TACTIC_DRAM, 75 % of all of it, would take
    what others use.

    :param available: of the machine, in MB.
    :param workspace_mb: at most; 0: what half of the free memory allows.
    :param share: see :class:`Attempt`.
    """
    free = min(facts.free_mb or available, available) if facts.integrated else facts.free_mb or available
    usable = max(free - RESERVE_MB, RESERVE_MB)
    workspace = int(usable * _WORKSPACE_SHARE)
    workspace = min(workspace_mb, workspace) if workspace_mb else workspace
    return Limits(max(int(workspace * share), 16), int(usable * share) if facts.integrated else 0)


def available_mb(meminfo: Path = MEMINFO) -> int:
    """What programs can have without others being swapped out."""
    for line in meminfo.read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    raise BuildError(f"{meminfo} has no MemAvailable; a kernel from 3.14 on is needed")


def check_free(available: int) -> None:
    """:raises BuildError: too little memory is free to begin with."""
    if available < LEAST_FREE_MB:
        raise BuildError(
            f"only {available} MB of memory are free, a TensorRT build needs {LEAST_FREE_MB} at least: stop the daemon "
            "first (sudo systemctl stop sightd), convert, and start it again (sudo systemctl start sightd)"
        )
