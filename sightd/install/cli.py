"""The commands that put the service on a machine: `sightd install` and `sightd uninstall`."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
import os
from pathlib import Path
from typing import Optional, Sequence

import typer
from typing_extensions import Annotated

from ..errors import SightdError
from .changes import Change
from .layout import Layout
from .machine import has_user, probe_machine, probe_service
from .plan import plan_install
from .removal import plan_uninstall

__all__ = ["register"]

_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print every change and make none.")]


def register(app: typer.Typer) -> None:
    """Add the installation's commands to *app*."""
    app.command("install")(_install)
    app.command("uninstall")(_uninstall)


def _install(
    source: Annotated[
        Optional[str],
        typer.Option(help="A checkout, a wheel, a URL or sightd==VERSION; else the one that is running."),
    ] = None,
    python: Annotated[Path, typer.Option(help="The system's interpreter; the service sees its packages.")] = Path(
        "/usr/bin/python3"
    ),
    start: Annotated[
        Optional[bool], typer.Option(help="Start the service; without either: if it has cameras and a bundle.")
    ] = None,
    dry_run: _DryRun = False,
) -> None:
    """Install or upgrade the service in /opt/sightd; run again after each change of cameras, broker or secrets."""
    _need_root(dry_run)
    layout = Layout()
    plan = plan_install(layout, probe_machine(layout, python), source, start)
    _carry_out(plan.changes, dry_run, "nothing to change")
    for note in plan.notes:
        typer.echo(note)


def _uninstall(
    purge: Annotated[bool, typer.Option("--purge", help="Settings, bundles, collected data and the user too.")] = False,
    dry_run: _DryRun = False,
) -> None:
    """Remove the service and its programs; settings, bundles and data stay."""
    _need_root(dry_run)
    layout = Layout()
    service, user = probe_service(layout.root), has_user(layout.service)
    _carry_out(list(plan_uninstall(layout, service, user=user, purge=purge)), dry_run, "nothing to remove")


def _need_root(dry_run: bool) -> None:
    if os.geteuid() != 0 and not dry_run:
        raise SightdError("this changes the system: run it with sudo, or with --dry-run to see what it would do")


def _carry_out(changes: Sequence[Change], dry_run: bool, nothing: str) -> None:
    """Say each change and, unless *dry_run*, make it."""
    if not changes:
        typer.echo(nothing)
    os.umask(0o022)  # sudo may hand down one that hides the programs from the daemon
    for change in changes:
        typer.echo(change.describe())
        if dry_run:
            continue
        try:
            change.apply()
        except OSError as error:
            raise SightdError(
                f"{error.filename or change.describe()}: {error.strerror}; mend it and run this again"
            ) from error
