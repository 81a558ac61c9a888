"""What a process and all of its descendants hold: memory, open files, threads; Linux's /proc only."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import List, Optional, Type

__all__ = ["Sample", "Sampler", "family", "name_of", "sample"]


@dataclass(frozen=True)
class Sample:
    """All of them together."""

    #: Seconds, of the monotonic clock.
    at: float
    rss_mb: float
    fds: int
    threads: int
    processes: int


class Sampler(threading.Thread):
    """Takes a sample of process *pid* every *interval_s* while the with statement lasts."""

    def __init__(self, pid: int, interval_s: float) -> None:
        super().__init__(name="sampler", daemon=True)
        self._pid, self._interval_s = pid, interval_s
        self._over = threading.Event()
        self.samples: List[Sample] = []

    def run(self) -> None:
        while not self._over.wait(self._interval_s):
            self.samples.append(sample(self._pid))

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over.set()
        self.join()


def sample(pid: int) -> Sample:
    """How it stands now; who ends meanwhile counts for nothing."""
    rss_kb = fds = threads = processes = 0
    for one in family(pid):
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{one}/status").read_text("ascii", "replace")
            fds += len(list(Path(f"/proc/{one}/fd").iterdir()))
            said = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            rss_kb += int(said.get("VmRSS", "0 kB").split()[0])
            threads += int(said["Threads"])
            processes += 1
    return Sample(time.monotonic(), rss_kb / 1024, fds, threads, processes)


def name_of(pid: int) -> str:
    """As ps shows it, 15 characters at most; "" of one that has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def family(pid: int) -> List[int]:
    """*pid* and all of its descendants."""
    family = [pid]
    for one in family:  # it grows while we go through it
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                family += map(int, task.read_text().split())
    return family
