"""What a user may do with a file, by owner, group and mode; access lists are not looked at."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Optional

from .machine import Account, Machine

__all__ = ["SERVICE_USER", "closed_folder", "may_read", "may_write", "service_account"]

#: Whom the unit runs the daemon as.
SERVICE_USER = "sightd"


def service_account(machine: Machine) -> Account:
    """Who runs the daemon: the service's user or, where there is none, who runs the doctor."""
    own = Account("root" if machine.is_root else "you", os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))
    return machine.account(SERVICE_USER) or own


def may_read(account: Account, found: os.stat_result) -> bool:
    """Whether the mode lets *account* read the file with the status *found*."""
    return _may(account, found, stat.S_IRUSR)


def may_write(account: Account, found: os.stat_result) -> bool:
    """Whether the mode lets *account* write to the file or folder with the status *found*."""
    return _may(account, found, stat.S_IWUSR)


def closed_folder(account: Account, machine: Machine, path: Path) -> Optional[Path]:
    """The uppermost folder above *path* that does not let the user through; one that we can't see counts as open."""
    for folder in reversed(path.parents):
        found = machine.stat(folder)
        if found is not None and not _may(account, found, stat.S_IXUSR):
            return folder
    return None


def _may(account: Account, found: os.stat_result, owners_bit: int) -> bool:
    if account.uid == 0:
        return True
    if found.st_uid == account.uid:
        return bool(found.st_mode & owners_bit)
    if found.st_gid in account.gids:
        return bool(found.st_mode & owners_bit >> 3)
    return bool(found.st_mode & owners_bit >> 6)
