"""The report's last part: speed, size, how to make it again, and what nothing here can prove."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from .data import Engine, ReportData
from .html import NOT_MEASURED, Html, facts, heading, number, table, tag

__all__ = ["limits", "reproduce", "speed"]

_LIMITS = (
    "A wrong input spec (colour order, scale, mean), which reference and engine both follow: look at annotated.jpg.",
    "What is not on the held-out frames: another season, night, a new camera. Capture again when the scene changes.",
    "Whether the model itself is right: it is the yardstick. Only labels tell.",
    "Rare classes: a class with few boxes here has a wide interval or no figure, and may have changed unnoticed.",
    "Speed on another machine, or beside other work: latencies hold for the machine that made this report.",
)


def speed(data: ReportData) -> Html:
    """Before and after: latency, file size; and what the conversion cost."""
    build = data.manifest.build
    latency: Mapping[str, Mapping[str, Mapping[str, float]]] = data.manifest.latency
    batches = sorted({batch for times in latency.values() for batch in times}, key=int)
    rows = [
        (
            f"Batch {batch}",
            *(latency.get(name, {}).get(batch, {}).get(key) for name in ("float", "int8") for key in _TIMES),
        )
        for batch in batches
    ]
    sizes = [(name, size / 2**20) for name, size in data.sizes.items()]
    cost = [("Seconds", build.get("seconds")), ("Peak memory, MB", build.get("peak_rss_mb"))]
    columns = ("", "Float p50, ms", "Float p95, ms", "INT8 p50, ms", "INT8 p95, ms")
    return heading(
        "Speed and size",
        "speed",
        table("Latency of a batch, both engines in turns in one run", columns, rows),
        _engines(data.engines),
        tag(
            "div",
            table("Size of the files", ("File", "MiB"), sizes),
            facts("The conversion itself", cost),
            class_="row",
        ),
    )


def reproduce(data: ReportData) -> Html:
    """The command and everything that decides what it makes."""
    manifest, found = data.manifest, data.calibration
    hashes = [
        ("ONNX graph, sha256", manifest.model.onnx_sha256),
        ("Weights, sha256", manifest.model.weights_sha256 or "an ONNX file was given"),
        ("Exporter", manifest.model.exporter),
        ("Engine, sha256", manifest.engine.sha256 or NOT_MEASURED),
        ("Calibration frames, sha256", str(found.get("sha256", NOT_MEASURED))),
        ("Seed", str(found.get("seed", NOT_MEASURED))),
        ("sightd", manifest.sightd_version),
        *sorted(manifest.engine.versions.items()),
    ]
    command = tag("pre", data.command) if data.command else tag("p", "Called from a program, not by a command.")
    asked = [(key.replace("_", " "), _told(value)) for key, value in data.request.items()]
    return heading(
        "How to reproduce",
        "reproduce",
        command,
        facts("What went in", hashes),
        facts("What was asked for", asked) if asked else None,
    )


def limits() -> Html:
    """What the gate can't see."""
    return heading("What the gate can't see", "limits", tag("ul", [tag("li", limit) for limit in _LIMITS]))


_TIMES = ("p50_ms", "p95_ms")


def _engines(engines: Sequence[Engine]) -> Html:
    """Nothing of a kind that is built at once and does not tell what its layers compute in."""
    if not any(engine.layers or engine.seconds for engine in engines):
        return Html("")
    rows = [
        (
            f"{engine.name}, INT8's yardstick" if engine.yardstick else engine.name,
            engine.verdict,
            ", ".join(f"{count} {precision}" for precision, count in engine.layers.items()) or NOT_MEASURED,
            engine.seconds or None,
        )
        for engine in engines
    ]
    return table(
        "Engines, and what their layers were found to compute in", ("Engine", "Verdict", "Layers", "Build, s"), rows
    )


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(one)}" for key, one in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        return " × ".join(_told(one) for one in value) or "–"
    return "–" if value in ("", None) else number(value)
