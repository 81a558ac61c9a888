"""Whether a bundle may be run: engines are code, so they lie where the settings allow it and strangers can't write.

The sha256 in its manifest tells damage; it is no signature. Whoever can write a bundle can write its manifest too, so
what keeps strangers out are the folder and its permissions.
"""

from __future__ import annotations

import stat
from itertools import chain
from pathlib import Path
from typing import Iterator, Sequence

from .errors import BundleError, ConfigError

__all__ = ["check_place", "check_trusted"]


def check_trusted(folder: Path, allowed: Sequence[Path]) -> None:
    """Refuse the bundle in *folder* unless it really lies in one of the folders *allowed*, shut against others.

    :raises ConfigError: it lies elsewhere, or a link leads elsewhere.
    :raises BundleError: every user of this machine may write to it, to one of its files, or to a folder above it.
    """
    check_place(folder, allowed)
    real = folder.resolve()
    for path in chain(_content(real), (real,), real.parents):
        _check_shut(path, inside=path == real or real in path.parents)


def check_place(folder: Path, allowed: Sequence[Path]) -> None:
    """The first half of :func:`check_trusted`, for a folder that may be yet to come.

    :raises ConfigError: it lies elsewhere, or a link leads elsewhere.
    """
    real = folder.resolve()
    if not any(root in (real, *real.parents) for root in (path.resolve() for path in allowed)):
        lies = f"{folder}" if real == folder.absolute() else f"{folder}, which leads to {real},"
        raise ConfigError(
            f"bundle_folders: {lies} is in none of {', '.join(map(str, allowed))}; engines are code: move it there, or "
            "add the folder that holds it"
        )


def _content(folder: Path) -> Iterator[Path]:
    """Its own files and those of its earlier versions, which may serve in its place."""
    for pattern in ("*", "versions/*", "versions/*/*"):
        yield from folder.glob(pattern)


def _check_shut(path: Path, *, inside: bool) -> None:
    """In a folder with the sticky bit, like /tmp, others may add files but not replace any: that will do above it."""
    try:
        mode = path.stat().st_mode if not path.is_symlink() else 0
    except OSError as error:
        raise BundleError(f"{path}: can't be looked at ({error.strerror}); check its owner and permissions") from error
    if mode & stat.S_IWOTH and (inside or not mode & stat.S_ISVTX):
        raise BundleError(
            f"{path}: every user of this machine may write to it, and so change what is run here; run: chmod o-w {path}"
        )
