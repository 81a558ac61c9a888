"""From what a path should be to the changes that it takes: none where it is so already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

from ..errors import SightdError
from .changes import Change, Link, MakeFolder, Remove, SetAccess, WriteFile, access_of

__all__ = ["access", "file", "folder", "link", "nothing"]


def access(path: Path, mode: int, owner: str) -> Iterator[Change]:
    """*path*, which is there, with *mode* and *owner*."""
    if access_of(path) != (mode, owner):
        yield SetAccess(path, mode, owner)


def file(path: Path, text: str, mode: int, owner: str) -> Iterator[Change]:
    """A text file with exactly this content."""
    if not path.is_file() or path.read_bytes() != text.encode():
        yield WriteFile(path, text, mode, owner)
    else:
        yield from access(path, mode, owner)


def folder(path: Path, mode: int, owner: str) -> Iterator[Change]:
    """A folder, whatever is in it."""
    if path.is_dir():
        yield from access(path, mode, owner)
    else:
        yield MakeFolder(path, mode, owner)


def link(path: Path, target: Path) -> Iterator[Change]:
    """A symbolic link.

    :raises SightdError: there is something else, which is not ours to replace.
    """
    if os.path.lexists(path) and not path.is_symlink():
        raise SightdError(f"{path}: is there already and is no link of sightd's; move it away and run this again")
    if not path.is_symlink() or os.readlink(path) != str(target):
        yield Link(path, target)


def nothing(path: Path) -> Iterator[Change]:
    """No file, link or folder."""
    if os.path.lexists(path):
        yield Remove(path)
