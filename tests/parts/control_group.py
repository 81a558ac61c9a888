"""A real control group with a limit of memory: of version 1, which JetPack 5 has, and which needs no systemd."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

__all__ = ["control_group"]

_V1 = Path("/sys/fs/cgroup/memory")


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """A new one whose processes may take *limit* bytes and must have ended at the end; skips where none can be made."""
    group = _V1 / f"sightd-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        group.rmdir()
