"""SQLite's connections and errors, for files that may be damaged on disks that may fail."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from sightd.errors import SightdError

__all__ = ["DamagedStore", "DiskError", "connect", "translated"]

#: Of what can't be done now, but with the file in order; everything else that SQLite reports is damage.
_PASSING = ("full", "i/o error", "readonly", "unable to open", "locked")
_BUSY_S = 1.0


class DiskError(SightdError):
    """The disk does not take or give it now: it is full, read-only or failing. The file may be in order."""


class DamagedStore(SightdError):  # noqa: N818 (a state of the file, whoever finds it)
    """The file is no store of ours any more; trying again would not help."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open *path*; *mode* "rw": it exists, "rwc": it is made where it does not."""
    address = f"{path.absolute().as_uri()}?mode={mode}"
    # Whoever owns it may hand it to another thread, to be closed.
    connection = sqlite3.connect(address, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
    connection.text_factory = bytes  # of a damaged row text may be anything
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        says = str(error)
        passing = isinstance(error, sqlite3.OperationalError) and any(mark in says.lower() for mark in _PASSING)
        # A header that claims to be read-only, on a disk where we could write it.
        lying = "readonly" in says and os.access(path, os.W_OK)
        if passing and not lying:
            raise DiskError(says) from error
        raise DamagedStore(says) from error
    except OverflowError as error:  # a number beyond 64 bits, of a damaged row
        raise DamagedStore(str(error)) from error
