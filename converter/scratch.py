"""Folders for what a conversion makes on its way; those of killed conversions are removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator

__all__ = ["scratch_folder"]

_PREFIX = ".sightd-convert-"


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder in *parent*, removed at the end.

    A conversion holds a lock on its folder while it lives, so a folder that nobody has locked is a dead one's.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with _locked(parent, wait=True):  # nobody takes a folder for a dead one's before its owner has locked it
            _remove_dead(parent)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent)))
            stack.enter_context(_locked(folder))
        yield folder


def _remove_dead(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*"):
        with _locked(left) as ours:
            if ours:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether the lock on *folder* could be had; it is held inside."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # its owner has just removed it, or it is another user's
        yield False
        return
    try:
        yield _lock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
