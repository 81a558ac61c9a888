"""The report's middle: what the search tried, what each layer suffers in INT8, and the frames that ranges came from."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..search import NOT_BUILT
from .data import Layer, ReportData
from .html import NOT_MEASURED, Html, heading, number, table, tag
from .svg import Point, Series, bars, lines, scatter

__all__ = ["calibration", "graph", "layers", "search"]

_PRECISIONS = {"int8": "INT8", "float": "Float, kept by the search", "head": "Float, predictions"}
_MOST_BARS = 12
_MOST_ROWS = 60


def search(data: ReportData) -> Html:
    """Every INT8 engine that was tried."""
    columns = ("Trial", "Recipe", "Verdict", "AP", "AP50", "Recall", "Extra", "Times float's speed")
    rows = [
        (
            f"{place}",
            _recipe(trial),
            _verdict(trial),
            *(trial.get(key) for key in ("ap", "ap50", "recall", "extra", "speedup")),
        )
        for place, trial in enumerate(data.trials, 1)
    ]
    trials = table("INT8 engines that were built and judged, in order", columns, rows, "none was tried")
    return heading("The search", "search", _scatter(data), trials)


def layers(data: ReportData) -> Html:
    """How many layers are INT8, and which are not, and why."""
    if not data.layers:
        return heading("Layers", "layers", tag("p", f"Damage of each layer: {NOT_MEASURED}.", class_="none"))
    kept = [layer for layer in data.layers if layer.precision == "float"]
    found = [layer.precision for layer in data.layers]
    counts = [(title, found.count(name)) for name, title in _PRECISIONS.items()]
    return heading(
        "Layers",
        "layers",
        tag(
            "div",
            _most_sensitive(data.layers),
            table("Layers of the network by precision", ("Precision", "Layers"), counts),
            class_="row",
        ),
        table(
            f"Layers kept float{_first(kept, _MOST_ROWS)}",
            ("Layer", "Damage", "SQNR, dB"),
            [(layer.name, layer.damage, layer.sqnr_db) for layer in kept[:_MOST_ROWS]],
            "none",
        ),
    )


def graph(svg: Html) -> Html:
    """The model's graph, as graph.svg shows it too."""
    if not svg:
        return heading("Graph", "graph", tag("p", "No picture of the graph.", class_="none"))
    told = (
        "The finished model with the precision that each block computes in. Rest the pointer on a block for the names "
        "of its nodes; the file graph.svg in the bundle is the same picture, and is not printed with this page."
    )
    return heading(
        "Graph",
        "graph",
        tag("p", told),
        tag("div", svg, class_="graph", tabindex=0, role="region", aria_label="Graph of the model"),
    )


def calibration(data: ReportData, sheet: str) -> Html:
    """The frames that the ranges come from, and how well they stand for all."""
    found = data.calibration
    coverage: Mapping[str, Any] = found.get("coverage") or {}
    intro = (
        f"{number(found.get('frames'))} frames to calibrate on, {number(found.get('holdout'))} others, from other "
        f"times, to judge by; {number(coverage.get('candidates'))} there were to choose from."
    )
    return heading(
        "Calibration set",
        "calibration",
        tag("p", intro),
        tag("div", [_stratum(*one) for one in (coverage.get("strata") or {}).items()], _radius(coverage), class_="row"),
        _saturation(coverage.get("saturation") or ()),
        _silent(found.get("silent_tensors")),
        _sheet(sheet),
    )


def _recipe(trial: Mapping[str, Any]) -> str:
    head = ", INT8 head" if trial.get("head") == "int8" else ""
    scope = f", {trial['scope']}" if trial.get("scope") else ""
    return f"{trial.get('algorithm')}{scope}, {number(trial.get('float_layers'))} layers float{head}"


def _verdict(trial: Mapping[str, Any]) -> str:
    verdict = str(trial.get("verdict", NOT_MEASURED))
    return f"not built: {trial.get('reason')}" if verdict == NOT_BUILT else verdict


def _scatter(data: ReportData) -> Html:
    points = [
        Point(trial["speedup"], trial["ap"], str(place), trial.get("verdict") == "agrees")
        for place, trial in enumerate(data.trials, 1)
        if trial.get("speedup") is not None and trial.get("ap") is not None
    ]
    bound = data.thresholds.get("min_ap")
    if not points or bound is None:
        return Html("")
    title = "Agreement over speed of each trial"
    plot = scatter(title, points, "times float's speed", "AP", 1.0, bound)
    told = "Discs agree, crosses do not; right of the upright line an engine is faster than float."
    return tag("figure", plot, tag("figcaption", told))


def _most_sensitive(ranked: Sequence[Layer]) -> Html:
    measured = [(layer.name, layer.damage) for layer in ranked if layer.damage is not None][:_MOST_BARS]
    if not measured:
        return tag("p", f"Damage of each layer: {NOT_MEASURED}.", class_="none")
    plot = bars(
        "Damage of the most sensitive layers", measured, [one.name for one in ranked if one.precision != "int8"]
    )
    told = (
        "The most sensitive layers: what INT8 in one layer alone does to the detections, 0 nothing, 1 none left. "
        "Outlined bars are float in this engine."
    )
    return tag("figure", plot, tag("figcaption", told))


def _stratum(name: str, values: Mapping[str, Sequence[int]]) -> Html:
    rows = [(value, chosen, candidates) for value, (candidates, chosen) in values.items()]
    return table(f"Frames by {name}", (name.capitalize(), "Chosen", "Candidates"), rows)


def _radius(coverage: Mapping[str, Any]) -> Html:
    chosen, random = coverage.get("radius"), coverage.get("random_radius")
    rows = [
        (name, one.get("greatest"), one.get("mean"))
        for name, one in (("This choice", chosen), ("Random", random))
        if one
    ]
    space = coverage.get("space", "")
    caption = f"Distance of all candidates to the nearest chosen frame{f' (by {space})' if space else ''}"
    return table(caption, ("Choice", "Greatest", "Mean"), rows)


def _saturation(growth: Sequence[Mapping[str, Any]]) -> Html:
    if len(growth) < 2:
        return tag("p", f"How the greatest activations saturate: {NOT_MEASURED}.", class_="none")
    series = [
        Series(name, [(one["frames"], one[key]) for one in growth])
        for key, name in (("mean", "mean of activations"), ("twentieth", "lowest twentieth"))
    ]
    title = "Share of each activation's greatest value that the first frames reach"
    return tag("figure", lines(title, series, "frames", "share"), tag("figcaption", f"{title}; flat means enough."))


def _silent(tensors: object) -> Html:
    if tensors is None:
        return tag("p", f"Activations that were never active: {NOT_MEASURED}.", class_="none")
    names = list(tensors) if isinstance(tensors, (list, tuple)) else []
    rows = [(name,) for name in names[:_MOST_ROWS]]
    return table(f"Activations that were zero in every frame{_first(names, _MOST_ROWS)}", ("Tensor",), rows, "none")


def _sheet(sheet: str) -> Html:
    if not sheet:
        return tag("p", "Contact sheet: no picture.", class_="none")
    alt = "Thumbnails of frames that the engine was calibrated on"
    return tag("figure", tag("img", src=sheet, alt=alt), tag("figcaption", f"{alt}."))


def _first(all_of: Sequence[object], most: int) -> str:
    return f" (the first {most} of {len(all_of)})" if len(all_of) > most else ""
