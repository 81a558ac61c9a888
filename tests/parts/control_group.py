"""A real control group with a limit of memory: of version 1, which JetPack 5 has, and which needs no systemd."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import pytest

__all__ = ["control_group", "lower"]

_V1 = Path("/sys/fs/cgroup/memory")


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """A new one whose processes may take *limit* bytes and must end within 10 s after; skips where none can be made."""
    group = _V1 / f"sightd-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        _until_not_busy(group.rmdir, 10)


def lower(group: Path, limit: Callable[[], int]) -> None:
    """Set the limit to what *limit* gives, in bytes; asked anew while more than that is in use, for 30 s."""
    _until_not_busy(lambda: (group / "memory.limit_in_bytes").write_text(str(limit())), 30)


def _until_not_busy(do: Callable[[], object], deadline_s: float) -> None:
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            do()
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.1)
