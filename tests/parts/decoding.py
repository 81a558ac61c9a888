"""A source in a process of its own, for tests: read, looked at from outside, ended."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Callable, Iterator

from sightd.sources import ProcessSource, Source

__all__ = ["in_process", "is_there", "pid_of", "read", "wait_until"]


@contextlib.contextmanager
def in_process(make: Callable[[], Source]) -> Iterator[ProcessSource]:
    """The source that *make* makes, in a process that is ended afterwards."""
    source = ProcessSource("yard", make)
    try:
        yield source
    finally:
        source.end()


def read(source: Source, openings: int = 0) -> None:
    """Every picture, to the end; of 0 openings, of what is open."""
    for _ in range(openings):
        source.open()
        while source.grab():
            source.retrieve()
    while not openings and source.grab():
        source.retrieve()


def pid_of(source: ProcessSource) -> int:
    """Its process's."""
    assert source._process is not None
    return source._process._pid


def is_there(pid: int) -> bool:
    """Whether that process still does something."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    """20 s at most."""
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)
