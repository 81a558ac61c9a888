"""What the demo says at its end: the INT8 verdict, the annotated picture, a table of the cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightd.bundle import open_bundle

from .watch import CameraFigures

__all__ = ["print_bundle", "print_cameras"]


def print_bundle(console: Console, folder: Path, *, agreed: bool) -> None:
    """The measured verdict on the engine in the bundle *folder*, and the picture to check it by."""
    manifest = open_bundle(folder).manifest
    style = "bold green" if agreed else "bold red"
    console.print(f"Engine: [bold]{manifest.engine.precision}[/] by {manifest.engine.kind}")
    console.print(f"Verdict: [{style}]{escape(manifest.verdict)}[/]")
    console.print(f"Annotated picture, to look at: [bold]{escape(str((folder / 'annotated.jpg').resolve()))}[/]")


def print_cameras(console: Console, cameras: Mapping[str, CameraFigures]) -> None:
    """A row a camera that published."""
    table = Table(title="What arrived over MQTT")
    table.add_column("camera")
    for heading in ("messages", "a second", "latency p50", "p99"):
        table.add_column(heading, justify="right")
    table.add_column("objects")
    for name, figures in sorted(cameras.items()):
        objects = ", ".join(f"{count} {label}" for label, count in figures.labels.most_common(4))
        table.add_row(
            f"[{figures.colour}]{name}[/]",
            str(len(figures.arrived_at)),
            f"{figures.fps:.1f}",
            f"{figures.latency_ms(50):.0f} ms",
            f"{figures.latency_ms(99):.0f} ms",
            objects or "none",
        )
    console.print(table)
