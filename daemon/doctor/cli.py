"""The command `sightd doctor`."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
from pathlib import Path

import typer
from typing_extensions import Annotated

from sightd.settings import DEFAULT_CONFIG

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `doctor` to *app*."""
    app.command("doctor")(_doctor)


def _doctor(
    config: Annotated[Path, typer.Option(envvar="SIGHTD_CONFIG", help="The settings file.")] = DEFAULT_CONFIG,
    as_object: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Look at all that sightd needs here and say how to mend what is wrong; exit code 1 when there is a problem."""
    from rich.console import Console

    from .examine import examine
    from .finding import PROBLEM
    from .machine import Machine
    from .report import as_json, print_report

    findings = examine(Machine(), config)
    if as_object:
        typer.echo(as_json(findings))
    else:
        print_report(findings, Console(highlight=False))
    if any(finding.level == PROBLEM for finding in findings):
        raise typer.Exit(1)
