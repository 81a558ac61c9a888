"""The command `sightd bundle`: what bundles there are, how they differ, whether one is sound, and the way back."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from typing_extensions import Annotated

from sightd.bundle import MANIFEST, open_bundle
from sightd.bundle_versions import rollback, version_name, versions
from sightd.errors import BundleError
from sightd.manifest import Manifest

__all__ = ["register"]

_BUNDLES = Path("/opt/sightd/bundles")
#: Differ in any two bundles and say nothing.
_UNTOLD = (
    *("engine.file", "engine.sha256", "fallback.file", "fallback.sha256", "parent", "created_at"),
    *("build.seconds", "build.peak_rss_mb", "build.engine.seconds", "build.engine.peak_rss_mb"),
)

_Folder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, or one of its versions/NAME.")]


def register(app: typer.Typer) -> None:
    """Add `bundle` to *app*."""
    bundle = typer.Typer(no_args_is_help=True, help="List, show, compare, verify bundles; go back to an earlier one.")
    bundle.command("ls")(_ls)
    bundle.command("show")(_show)
    bundle.command("diff")(_diff)
    bundle.command("verify")(_verify)
    bundle.command("rollback")(_rollback)
    app.add_typer(bundle, name="bundle")


def _ls(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of bundles, or a bundle.")] = _BUNDLES,
) -> None:
    """List bundles and their versions; the version in service has an asterisk."""
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; give the one that your bundles are in")
    here = (folder / MANIFEST).exists()
    bundles = [folder] if here else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if not bundles:
        raise BundleError(f"{folder}: no bundle there; make one with: sightd convert MODEL --out {folder / 'default'}")
    _print(("bundle", "", "version", "model", "engine", "verdict"), [row for path in bundles for row in _rows(path)])


def _rows(folder: Path) -> Iterator[Sequence[str]]:
    name = folder.absolute().name
    try:
        for version in versions(folder):
            manifest = version.bundle.manifest
            mark = "*" if version.in_service else ""
            engine = f"{manifest.engine.kind} {manifest.engine.precision}"
            yield name, mark, version.name, manifest.model.name, engine, manifest.verdict.partition(".")[0]
    except BundleError as error:
        yield name, "!", "", "", "", str(error)


def _show(
    folder: _Folder,
    as_object: Annotated[bool, typer.Option("--json", help="Print the manifest as one JSON object.")] = False,
) -> None:
    """Show what a bundle is and what was measured of it."""
    bundle = open_bundle(folder)
    if as_object:
        typer.echo(msgspec.json.encode(bundle.manifest).decode())
        return
    told = {"version": version_name(bundle), **_told(bundle.manifest)}
    _print(("", ""), [(key, _text(value)) for key, value in told.items()])


def _diff(
    one: Annotated[Path, typer.Argument(metavar="A", help="A bundle, or one of its versions/NAME.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Show what differs: model, labels, input, calibration, agreement, latency; nothing where they are alike."""
    first, second = (_told(open_bundle(folder).manifest) for folder in (one, other))
    keys = [key for key in {**first, **second} if key not in _UNTOLD and first.get(key) != second.get(key)]
    rows = [(key, *_shortened(first.get(key), second.get(key))) for key in keys]
    if rows:
        _print(("", str(one), str(other)), rows)


def _verify(folder: _Folder) -> None:
    """Check that a bundle is what its manifest says, loads on this machine and computes what it did; 1 says why not.

    Its fallback is checked, too.
    """
    from sightd.bundle_check import check_runs

    bundle = open_bundle(folder)
    check_runs(bundle)
    engine, fallback = bundle.manifest.engine, bundle.manifest.fallback
    runs = f"{engine.precision} on {engine.kind}"
    beside = f", and so does its fallback ({fallback.precision} on {fallback.kind})" if fallback else ""
    typer.echo(f"{folder}: version {version_name(bundle)} is sound and runs here ({runs}){beside}")


def _rollback(
    folder: _Folder,
    to: Annotated[Optional[str], typer.Option(metavar="VERSION", help="Else the one that it replaced.")] = None,
) -> None:
    """Put an earlier version of a bundle in service again; a running daemon takes it when it is restarted."""
    version = rollback(folder, to)
    typer.echo(f"{folder}: version {version.name} ({version.bundle.manifest.model.name}) is in service again")


def _told(manifest: Manifest) -> Dict[str, Any]:
    """The manifest's values by dotted key; lists of objects, the search's trials for instance, are left to --json."""
    return dict(_flat(msgspec.to_builtins(manifest), ""))


def _flat(value: Any, key: str) -> Iterator[Tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else str(name))
    elif not (isinstance(value, list) and any(isinstance(part, Mapping) for part in value)):
        yield key, value


def _shortened(one: Any, other: Any) -> Tuple[str, str]:
    """Both as text; of two lists only what the other has not, where the order is the same."""
    if isinstance(one, list) and isinstance(other, list):
        only = [part for part in one if part not in other], [part for part in other if part not in one]
        if any(only):
            return _text(only[0]), _text(only[1])
    return _text(one), _text(other)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None else str(value)


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people; for programs plain lines, tab-separated, without the head."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        for row in rows:
            typer.echo("\t".join(" ".join(cell.split()) for cell in row))
        return
    table = Table(box=None, show_header=any(head), header_style="bold")
    for title in head:
        table.add_column(title, no_wrap=title == "version", overflow="fold")  # what will be copied stays whole
    for row in rows:
        table.add_row(*row)
    console.print(table)
