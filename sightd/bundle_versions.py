"""Earlier versions of a bundle, kept inside its folder, and the way back to them.

The bundle's own folder always holds the version in service, as plain files; ``versions/NAME`` holds those that it
replaced, as hard links where the file system has them. What a manifest calls its parent is the version before it,
so that going back passes over a version that was itself gone back from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Mapping, Optional

from .bundle import MANIFEST, PARTIAL, Bundle, open_bundle, replace_bundle, sha256_of, write_bundle
from .errors import BundleError
from .manifest import Manifest

__all__ = ["KEPT", "Version", "ancestors", "publish", "rollback", "version_name", "versions"]

#: Earlier versions kept beside the one in service.
KEPT = 5
_FOLDER = "versions"
#: So much of the manifest's sha256 is in a version's name.
_MARK = 8


@dataclass(frozen=True)
class Version:
    """A bundle that is, or was, in service."""

    #: Time of its making (UTC) and the beginning of its manifest's sha256: 20260131T235959-0a1b2c3d.
    name: str
    bundle: Bundle
    in_service: bool


def publish(
    folder: Path,
    engine_file: Path,
    manifest: Manifest,
    extras: Mapping[str, Path],
    fallback_file: Optional[Path] = None,
) -> Bundle:
    """Write or replace the bundle in *folder* as write_bundle does, and keep the version that was in service.

    :raises BundleError: it can't be written; a bundle that was there stays.
    """
    with _alone(folder):
        _keep(folder)
        return write_bundle(folder, engine_file, manifest, extras, fallback_file)


def versions(folder: Path) -> List[Version]:
    """The version in service, then the earlier ones, newest first; damaged ones are left out.

    :raises BundleError: there is no bundle in *folder*, or the one in service is damaged.
    """
    serving = open_bundle(folder)
    name = version_name(serving)
    earlier = [path for path in (folder / _FOLDER).glob("[!.]*") if path.name != name]
    kept = [Version(path.name, bundle, False) for path in earlier for bundle in _opened(path)]
    return [Version(name, serving, True), *sorted(kept, key=lambda version: version.name, reverse=True)]


def ancestors(folder: Path) -> List[Version]:
    """The earlier versions that led to the one in service, the latest first; none that was gone back from.

    :raises BundleError: as :func:`versions`.
    """
    serving, *earlier = versions(folder)
    kept = {_mark(version.name): version for version in earlier}
    led = []
    parent = serving.bundle.manifest.parent
    while parent[:_MARK] in kept:
        led.append(kept.pop(parent[:_MARK]))
        parent = led[-1].bundle.manifest.parent
    return led


def rollback(folder: Path, to: Optional[str] = None) -> Version:
    """Put the version named *to* in service again, or the one that the version in service replaced.

    What was in service is kept, so that the way back is open too. Works where the version in service is damaged.

    :raises BundleError: no such version is kept, it is damaged, or the bundle can't be written.
    """
    if not (folder / _FOLDER).is_dir():
        raise BundleError(f"{folder}: no earlier version is kept there; nothing was changed")
    with _alone(folder):
        kept = [path.name for path in _latest(folder / _FOLDER)]
        name = to or _parent(folder)
        if name not in kept:
            known = ", ".join(kept) or "none"
            wanted = f"version {to}" if to else "the version that this one replaced"
            raise BundleError(f"{folder}: {wanted} is not kept (kept: {known}); nothing was changed")
        earlier = open_bundle(folder / _FOLDER / name)
        os.utime(earlier.folder)  # the oldest one must not go to make room
        _keep(folder)
        manifest = (earlier.folder / MANIFEST).read_bytes()
        return Version(name, replace_bundle(folder, earlier.files, manifest), True)


def version_name(bundle: Bundle) -> str:
    """The name under which *bundle* is kept when it is replaced."""
    made_at = re.sub(r"[^0-9T]", "", bundle.manifest.created_at[:19]) or "undated"
    return f"{made_at}-{sha256_of(bundle.folder / MANIFEST)[:_MARK]}"


def _opened(folder: Path) -> List[Bundle]:
    try:
        return [open_bundle(folder)]
    except BundleError:
        return []


def _parent(folder: Path) -> str:
    """The name of the version whose manifest the one in service replaced; "" where it is not kept."""
    kept = [path.name for path in _latest(folder / _FOLDER)]
    try:
        parent = open_bundle(folder).manifest.parent
    except BundleError:  # damaged: the one before it was in service last
        return next(iter(kept), "")
    return next((name for name in kept if parent and _mark(name) == parent[:_MARK]), "")


def _mark(name: str) -> str:
    return name.rpartition("-")[2]


def _keep(folder: Path) -> None:
    """Keep the version in service, if there is a sound one, as the latest; the oldest beyond KEPT go."""
    for bundle in _opened(folder):
        kept = folder / _FOLDER / version_name(bundle)
        if not kept.exists():
            _link(bundle, kept)
        os.utime(kept)  # when it was last in service: what is kept goes by that
        for old in _latest(kept.parent)[KEPT:]:
            doomed = old.rename(_partial(old))  # first out of sight: a kill may come in the midst of it
            shutil.rmtree(doomed)


def _partial(kept: Path) -> Path:
    return kept.with_name(f".{kept.name}{PARTIAL}")


def _latest(folder: Path) -> List[Path]:
    """The versions kept in *folder*, the one that was in service last first."""
    return sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _link(bundle: Bundle, kept: Path) -> None:
    """Make *kept* a copy of *bundle*, whole or not at all."""
    partial = _partial(kept)
    for left in kept.parent.glob(f".*{PARTIAL}"):
        shutil.rmtree(left)
    partial.mkdir(parents=True)
    for name in (*bundle.files, MANIFEST):
        try:
            os.link(bundle.folder / name, partial / name)
        except OSError:  # a file system without hard links, an SD card's FAT for instance
            shutil.copyfile(bundle.folder / name, partial / name)
    partial.rename(kept)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time; readers need no lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        raise BundleError(
            f"{folder}: the bundle can't be written ({error.strerror}); what was there before is kept"
        ) from error
