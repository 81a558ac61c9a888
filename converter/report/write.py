"""Writes a conversion's report: gathers the figures, draws the pictures, leaves report.html and report.json."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List

import msgspec

from sightd.bundle import sha256_of
from sightd.calibration_entries import Entry
from sightd.manifest import EngineRecord, Manifest
from sightd.redact import redact

from ..agreement.agree import Agreement, WorstFrame
from ..evidence import Evidence
from ..workshop import Workshop
from .data import Engine, Layer, ReportData
from .graph import draw_graph
from .html import Html
from .page import page
from .pictures import MOST_PAIRS, MOST_THUMBNAILS, Pair, Pictures, contact_sheet, pair

__all__ = ["write_report"]

#: In a plain folder of pictures captured_at is a mere place in the order of names.
_YEAR_2000 = 946_684_800


def write_report(
    folder: Path, engine_file: Path, evidence: Evidence, workshop: Workshop, manifest: Manifest
) -> Dict[str, Path]:
    """Write the page, its figures and the picture of the graph to *folder*; they by their names in the bundle.

    :param engine_file: what is shipped.
    """
    engine = replace(manifest.engine, sha256=sha256_of(engine_file), size=engine_file.stat().st_size)
    data = _data(evidence, workshop, replace(manifest, engine=engine))
    html, json, svg = folder / "report.html", folder / "report.json", folder / "graph.svg"
    graph = _graph(evidence, workshop, engine)
    svg.write_text(graph, "utf-8")
    html.write_text(page(data, replace(_pictures(evidence, workshop, engine.kind), graph=graph)), "utf-8")
    json.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2))
    return {file.name: file for file in (html, json, svg)}


def _data(evidence: Evidence, workshop: Workshop, manifest: Manifest) -> ReportData:
    judged = evidence.judged
    return ReportData(
        outcome=evidence.verdict.outcome.name.lower(),
        manifest=replace(manifest, agreement=None),
        judged=f"INT8 ({judged.recipe})" if judged else evidence.floats.title(evidence.floats.yardstick),
        agreement=_judged(evidence).as_dict(),
        thresholds=asdict(evidence.gate.needed() if judged else evidence.gate.thresholds),
        noise={name: one.as_dict() for name, one in evidence.noise.items()},
        labelled={name: one.as_dict() for name, one in evidence.labelled.items()},
        trials=(manifest.agreement or {}).get("trials", ()),
        layers=_layers(evidence, workshop),
        calibration=_calibration(evidence, workshop),
        sizes=_sizes(evidence, workshop),
        command=redact(evidence.request.command),
        request=_asked(evidence),
        notes=evidence.notes,
        engines=_engines(evidence, workshop),
    )


def _graph(evidence: Evidence, workshop: Workshop, engine: EngineRecord) -> Html:
    """The graph with the precisions of the engine that is shipped."""
    shipped = evidence.verdict.shipped
    precisions = workshop.precisions(engine.precision, shipped.recipe if shipped else None)
    title = f"{evidence.given.record.name}, {engine.precision} engine for {engine.kind}"
    return draw_graph(workshop.model, precisions, title)


def _engines(evidence: Evidence, workshop: Workshop) -> List[Engine]:
    """The float engines, and the INT8 engine that the report is about."""
    floats, judged = evidence.floats, evidence.judged
    rows = [
        Engine(
            one.built.precision,
            one is floats.yardstick,
            one.agreement.verdict,
            one.built.seconds,
            dict(one.built.layers),
        )
        for one in floats.engines
    ]
    if judged:
        built = workshop.built[judged.recipe]
        rows.append(
            Engine(f"INT8 ({judged.recipe})", False, judged.agreement.verdict, built.seconds, dict(built.layers))
        )
    return rows


def _layers(evidence: Evidence, workshop: Workshop) -> List[Layer]:
    precisions: Dict[str, str] = {}
    if evidence.judged:
        recipe = evidence.judged.recipe
        precisions = dict.fromkeys(workshop.head, "head") if recipe.head == "float" else {}
        precisions.update(dict.fromkeys(workshop.float_layers(recipe), "float"))
    return [Layer(one.layer, one.damage, one.sqnr_db, precisions.get(one.layer, "int8")) for one in workshop.ranking]


def _calibration(evidence: Evidence, workshop: Workshop) -> Dict[str, Any]:
    frames = evidence.frames
    return {
        "frames": len(frames.calibration),
        "holdout": len(evidence.gate.truth),
        "sha256": frames.sha256,
        "seed": frames.seed,
        "silent_tensors": workshop.silent_tensors() if evidence.trials else None,
        "coverage": frames.coverage.as_dict() if frames.coverage else None,
    }


def _sizes(evidence: Evidence, workshop: Workshop) -> Dict[str, int]:
    files = {"Model as given": evidence.request.model, "Float engine": evidence.floats.yardstick.built.file}
    if evidence.judged:
        files["INT8 engine"] = workshop.file_of(evidence.judged.recipe)
    return {name: file.stat().st_size for name, file in files.items()}


def _asked(evidence: Evidence) -> Dict[str, Any]:
    asked: Dict[str, Any] = msgspec.to_builtins(replace(evidence.request, rebuilt=None), enc_hook=str)
    return {key: value for key, value in asked.items() if key not in ("command", "rebuilt")}


def _pictures(evidence: Evidence, workshop: Workshop, kind: str) -> Pictures:
    frames = evidence.frames
    step = max(1, len(frames.calibration) // MOST_THUMBNAILS)
    return Pictures(_pairs(evidence, workshop, kind), contact_sheet(frames.images(frames.calibration[::step])))


def _pairs(evidence: Evidence, workshop: Workshop, kind: str) -> List[Pair]:
    """The worst frames, a picture at a time; each is read twice, to be looked at and to be drawn on."""
    judged, gate, labels = evidence.judged, evidence.gate, evidence.finished.labels
    places = {entry.file: place for place, entry in enumerate(gate.entries)}
    worst = [one for one in _judged(evidence).worst if one.missed or one.extra][:MOST_PAIRS]
    entries = [gate.entries[places[one.file]] for one in worst]
    if not entries:
        return []
    file = workshop.file_of(judged.recipe) if judged else evidence.floats.yardstick.built.file
    found = gate.look(kind, file, evidence.frames.images(entries))
    return [
        pair(image, gate.reported(places[entry.file]), seen, labels, _caption(entry, one))
        for image, entry, one, seen in zip(evidence.frames.images(entries), entries, worst, found)
    ]


def _judged(evidence: Evidence) -> Agreement:
    return evidence.judged.agreement if evidence.judged else evidence.floats.yardstick.agreement


def _caption(entry: Entry, worst: WorstFrame) -> str:
    return f"{entry.camera}, {_when(entry)}: {worst.missed} missed, {worst.extra} extra, AP50 {worst.ap50:.2f}"


def _when(entry: Entry) -> str:
    if entry.captured_at < _YEAR_2000:
        return entry.file
    return f"{datetime.fromtimestamp(entry.captured_at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
