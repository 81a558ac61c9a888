"""A bundle: engine file, manifest and evidence in one folder, written atomically, checked before use.

The engine file carries its own hash in its name and the manifest is replaced last, so a reader sees
the old bundle or the new one, never a mixture; a crash leaves at worst an unreferenced file.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Mapping, Optional, Set

import msgspec

from .bounded import decode_json, read_bounded
from .errors import BundleError, NoBundleError
from .manifest import SCHEMA, EngineRecord, Manifest

__all__ = [
    "Bundle",
    "check_engine_file",
    "holds_something_else",
    "open_bundle",
    "read_engine_file",
    "replace_bundle",
    "replace_durably",
    "sha256_of",
    "write_bundle",
]

MANIFEST = "manifest.json"
PARTIAL = ".partial"
_MAX_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked: its engine file is the one that the manifest describes."""

    folder: Path
    manifest: Manifest

    @property
    def engine_file(self) -> Path:
        return self.folder / self.manifest.engine.file

    @property
    def fallback(self) -> Optional[Bundle]:
        """The same with the fallback as its engine, for any processor; None where there is none."""
        record = self.manifest.fallback
        if record is None:
            return None
        return Bundle(self.folder, replace(self.manifest, engine=replace(record, machine=""), fallback=None))

    @property
    def files(self) -> Dict[str, Path]:
        """Name -> path of all that belongs to the bundle and is there, but for the manifest."""
        fallback = self.manifest.fallback
        names = [self.manifest.engine.file, *([fallback.file] if fallback else []), *self.manifest.extras]
        paths = {name: self.folder / name for name in names if Path(name).name == name}
        return {name: path for name, path in paths.items() if path.is_file()}


def open_bundle(folder: Path) -> Bundle:
    """Read and check a bundle.

    :raises NoBundleError: there is none.
    :raises BundleError: of another schema, or the engine file is not the one described.
    """
    path = folder / MANIFEST
    try:
        manifest = _read_manifest(path)
    except FileNotFoundError:
        raise NoBundleError(
            f"{folder}: no {MANIFEST} there; make a bundle with: sightd convert MODEL --out {folder}"
        ) from None
    except NotADirectoryError:
        raise BundleError(f"{folder} is no folder; a bundle is one: sightd convert MODEL --out FOLDER") from None
    except OSError as error:
        raise BundleError(f"{path}: can't be read ({error.strerror}); check its owner and permissions") from error
    check_engine_file(folder, manifest.engine)
    return Bundle(folder, manifest)


def write_bundle(
    folder: Path,
    engine_file: Path,
    manifest: Manifest,
    extras: Mapping[str, Path],
    fallback_file: Optional[Path] = None,
) -> Bundle:
    """Write or replace a bundle; *engine_file*, *fallback_file* and *extras* (name in the bundle -> file) are copied.

    Extras are evidence for people (the annotated picture, the report) and are not checked on opening.

    :param fallback_file: the engine that ``manifest.fallback`` is the record of; one goes with the other.
    :raises BundleError: it can't be written, a full disk for instance; a bundle that was there stays valid.
    """
    if (manifest.fallback is None) != (fallback_file is None):
        raise ValueError("a fallback's record and its file go together")
    files: Dict[str, Path] = {}
    engine, fallback = _added(files, manifest.engine, engine_file), manifest.fallback
    if fallback is not None and fallback_file is not None:
        fallback = _added(files, fallback, fallback_file)
    files.update(extras)  # after the engine, by which holds_something_else() tells what a killed writer left
    path = folder / MANIFEST
    parent = sha256_of(path) if path.exists() else ""
    complete = replace(manifest, engine=engine, fallback=fallback, parent=parent, extras=sorted(extras))
    content = msgspec.json.format(msgspec.json.encode(complete), indent=2)
    return replace_bundle(folder, files, content)


def replace_bundle(folder: Path, files: Mapping[str, Path], manifest: bytes) -> Bundle:
    """Make *folder* the bundle of *files* (name in the bundle -> file to copy) and the *manifest* that describes them.

    Files of the bundle that was there, and what a killed writer left, go; other files are not touched.

    :raises BundleError: as :func:`write_bundle`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replaced = _names_of(folder)
        for left in folder.glob(f".*{PARTIAL}"):
            left.unlink()
        for name, source in files.items():
            replace_durably(folder / name, source.read_bytes())
        replace_durably(folder / MANIFEST, manifest)
        for name in replaced - set(files):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise BundleError(
            f"{folder}: the bundle can't be written ({error.strerror}); what was there before is kept"
        ) from error
    return Bundle(folder, _decode(folder / MANIFEST, manifest))


def holds_something_else(folder: Path) -> bool:
    """Whether there is something in *folder*, but no bundle nor what a killed writer left of one."""
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return bool(names) and not any(name in (MANIFEST, "versions") or name.startswith("engine-") for name in names)


def check_engine_file(folder: Path, engine: EngineRecord) -> None:
    """Refuse any file but the one that the manifest describes.

    :raises BundleError: it is missing, altered, damaged, or outside *folder*.
    """
    path = _engine_path(folder, engine)
    try:
        digest = sha256_of(path) if path.stat().st_size == engine.size else ""
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest != engine.sha256:
        raise _altered(path)


def read_engine_file(folder: Path, engine: EngineRecord) -> bytes:
    """The content that the manifest describes, to be loaded as it is: a second read might find another one.

    :raises BundleError: as :func:`check_engine_file`.
    """
    path = _engine_path(folder, engine)
    try:
        content = read_bounded(path, engine.size)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise _altered(path) from error
    if len(content) != engine.size or hashlib.sha256(content).hexdigest() != engine.sha256:
        raise _altered(path)
    return content


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex, read in bounded memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def replace_durably(target: Path, content: bytes) -> None:
    """Write beside *target*, flush to disk, rename over it: readers see the old file or the new one."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _engine_path(folder: Path, engine: EngineRecord) -> Path:
    path = folder / engine.file
    is_name = engine.file.isascii() and engine.file.isprintable() and 0 < len(engine.file) < 256
    if not is_name or path.parent != folder or path.is_symlink():
        raise BundleError(
            f"{folder}: the manifest names an engine file outside the bundle ({engine.file[:99]!r}); refused"
        )
    return path


def _unreadable(path: Path, error: OSError) -> BundleError:
    remedy = "check its owner and permissions" if isinstance(error, PermissionError) else "convert the model again"
    return BundleError(f"{path}: can't be read ({error.strerror}); {remedy}")


def _altered(path: Path) -> BundleError:
    return BundleError(
        f"{path}: not the file that the manifest describes (size or sha256 differs): altered or damaged, "
        "refused. Convert the model again, or restore the bundle from a copy"
    )


def _added(files: Dict[str, Path], engine: EngineRecord, file: Path) -> EngineRecord:
    """Put the engine *file* under its hash among *files*; its record, completed."""
    digest = sha256_of(file)
    name = f"engine-{digest[:12]}{file.suffix}"
    files[name] = file
    return replace(engine, file=name, sha256=digest, size=file.stat().st_size)


def _names_of(folder: Path) -> Set[str]:
    """The files of the bundle in *folder*, and engines that no manifest names: a killed writer leaves them."""
    engines = {path.name for path in folder.glob("engine-*")}
    try:
        manifest = _read_manifest(folder / MANIFEST)
    except (BundleError, FileNotFoundError):
        return engines
    return engines | set(Bundle(folder, manifest).files)


def _read_manifest(path: Path) -> Manifest:
    try:
        return _decode(path, read_bounded(path, _MAX_MANIFEST_BYTES))
    except ValueError as error:
        raise BundleError(f"{path}: {error}, this is no manifest of ours") from error


def _decode(path: Path, data: bytes) -> Manifest:
    try:
        version = decode_json(data, _SchemaOnly).schema
        if version != SCHEMA:
            raise BundleError(f"{path}: manifest schema {version}, this sightd reads {SCHEMA}: convert the model again")
        return decode_json(data, Manifest)
    except ValueError as error:
        raise BundleError(f"{path}: damaged manifest ({error}); convert the model again") from error


class _SchemaOnly(msgspec.Struct):
    schema: int
