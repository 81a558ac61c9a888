"""The report's first half: the verdict, how far the engine agrees, and the frames on which it does least."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Tuple

from .data import ReportData
from .html import NOT_MEASURED, Html, facts, heading, number, table, tag
from .pictures import Pair
from .svg import bullet, columns

__all__ = ["agreement", "scores", "verdict", "worst_frames"]

#: Class, icon and title of the box that an outcome is told in.
_OUTCOMES = {
    "int8": ("pass", "✓", "INT8 shipped"),
    "slower": ("warn", "!", "Float shipped: INT8 agrees but is not faster here"),
    "disagrees": ("fail", "✗", "Float shipped: INT8 disagrees"),
    "unproven": ("fail", "?", "Float shipped: too little evidence"),
    "not_built": ("fail", "✗", "Float shipped: INT8 could not be built"),
    "no_layers": ("fail", "✗", "Float shipped: nothing can be INT8"),
}
#: Key in the agreement, title, key of the least value in the thresholds.
_MINIMA = (
    ("ap", "AP .50–.95", "min_ap"),
    ("ap50", "AP50", "min_ap50"),
    ("recall", "Recall", "min_recall"),
    ("precision", "Precision", "min_precision"),
    ("matched_iou", "Matched IoU", "min_matched_iou"),
)
_NOISE = (*((key, title) for key, title, _ in _MINIMA), ("score_shift", "Score shift"), ("extra", "Extra a frame"))
_GROUP_COLUMNS = ("Boxes", "Recall", "95 % interval", "AP", "Extra a frame", "Score shift", "Needed")


def verdict(data: ReportData) -> Html:
    """One sentence with its colour, icon and title, and what it is about."""
    manifest = data.manifest
    kind, icon, title = _OUTCOMES.get(data.outcome, ("fail", "?", data.outcome))
    engine = manifest.engine
    versions = ", ".join(f"{name} {version}" for name, version in sorted(engine.versions.items()))
    rows = [
        ("Model", f"{manifest.model.name} ({manifest.head}, {len(manifest.labels)} classes)"),
        ("Engine", f"{engine.kind}, {engine.precision}, {engine.machine}"),
        ("Input", f"{manifest.input.width} × {manifest.input.height}, {manifest.input.resize}"),
        ("Made", manifest.created_at),
        ("Versions", f"sightd {manifest.sightd_version}, {versions}"),
    ]
    told = tag("div", tag("strong", title), tag("span", manifest.verdict))
    box = tag("div", tag("div", icon, class_="icon", aria_hidden="true"), told, class_=f"verdict {kind}")
    noted = [("Note", note) for note in data.notes]
    return heading("Verdict", "verdict", box, facts("What was converted", [*rows, *noted]))


def agreement(data: ReportData) -> Html:
    """Overall against the thresholds, beside builds without INT8; then by class and by camera."""
    found, limits = data.agreement, data.thresholds
    intro = (
        f"Judged: {data.judged}. {number(found.get('evidence'))} boxes of the reference on "
        f"{number(found.get('frames'))} frames that were held out; the reference is the model as it was given, behind "
        "its own preprocessing. Dot: measured; band: 95 % interval; dashed line: what is needed."
    )
    rows = [_minimum(found, limits, *figure) for figure in _MINIMA]
    builds = {**data.noise, data.judged: found}
    noise = [(name, *(one.get(key) for key, _ in _NOISE)) for name, one in builds.items()]
    return heading(
        "Agreement",
        "agreement",
        tag("p", intro),
        table(
            "Agreement with the reference",
            ("Figure", "Kept", "Measured", "95 % interval", "Needed", "Scale"),
            [*rows, _shift(found, limits)],
        ),
        table(
            "Noise floor: what builds without INT8 reach on the same frames", ("Build", *dict(_NOISE).values()), noise
        ),
        _groups("class", found.get("classes") or (), limits),
        _groups("camera", found.get("cameras") or (), limits),
        _labelled(data.labelled),
    )


def scores(data: ReportData) -> Html:
    """How far the scores of matched boxes moved."""
    found = data.agreement
    intro = (
        "Engine's score minus the reference's, of boxes that both find: "
        f"mean {number(found.get('score_shift'))}, 90 % of them from {number(found.get('shift_p5'))} to "
        f"{number(found.get('shift_p95'))}."
    )
    edges, counts = _used(found.get("shift_counts") or ())
    if not counts:
        return heading("Score shift", "scores", tag("p", f"Histogram: {NOT_MEASURED}.", class_="none"))
    plot = columns("Histogram of score shifts", edges, counts, "score shift", "boxes")
    return heading("Score shift", "scores", tag("p", intro), tag("figure", plot))


def worst_frames(data: ReportData, pairs: Sequence[Pair]) -> Html:
    """Frames side by side: the reference left, the engine right."""
    if not pairs:
        told = "on no frame is a box missed or extra" if data.agreement.get("worst") else NOT_MEASURED
        return heading("Worst frames", "worst", tag("p", f"Frames side by side: {told}.", class_="none"))
    intro = tag("p", "Left the reference, right the engine; the frames on which they differ most come first.")
    return heading("Worst frames", "worst", intro, [_pair(pair) for pair in pairs])


def _pair(pair: Pair) -> Html:
    left = tag("img", src=pair.reference, alt=f"Boxes of the reference on {pair.caption}")
    right = tag("img", src=pair.engine, alt=f"Boxes of the engine on {pair.caption}")
    return tag("figure", tag("div", left, right, class_="pair"), tag("figcaption", pair.caption))


def _minimum(found: Mapping[str, Any], limits: Mapping[str, Any], key: str, title: str, limit: str) -> Sequence[object]:
    value, bound = found.get(key), limits.get(limit)
    if value is None or bound is None:
        return title, "", value, NOT_MEASURED, bound, ""
    interval = _interval(found, key)
    low, high = interval or (value, value)
    span = (min(bound - 2 * max(1 - bound, 0.01), low, value), 1.0)
    kept = _kept(value >= bound, low >= bound - limits.get("interval_slack", 0))
    plot = bullet(f"{title} {number(value)}, at least {number(bound)} needed", value, (low, high), [bound], span)
    return title, kept, value, _range(interval), f"≥ {number(bound)}", plot


def _shift(found: Mapping[str, Any], limits: Mapping[str, Any]) -> Sequence[object]:
    title, value, bound = "Mean score shift", found.get("score_shift"), limits.get("max_score_shift")
    if value is None or bound is None:
        return title, "", value, NOT_MEASURED, bound, ""
    interval = _interval(found, "score_shift")
    low, high = interval or (value, value)
    worst = max(abs(low), abs(high))
    span = max(2 * bound, worst, abs(value))
    kept = _kept(abs(value) <= bound, worst <= bound + limits.get("interval_slack", 0))
    told = f"{title} {number(value)}, at most {number(bound)} either way"
    plot = bullet(told, value, (low, high), [-bound, bound], (-span, span))
    return title, kept, value, _range(interval), f"± {number(bound)}", plot


def _kept(value_does: bool, interval_does: bool) -> Html:
    if not value_does:
        return tag("span", "✗ missed", class_="fail")
    return tag("span", "✓ kept", class_="pass") if interval_does else tag("span", "? uncertain", class_="warn")


def _interval(found: Mapping[str, Any], key: str) -> Optional[Tuple[float, float]]:
    ends = (found.get("intervals") or {}).get(key)
    return (float(ends[0]), float(ends[1])) if ends else None


def _range(ends: Optional[Sequence[float]]) -> str:
    return f"{number(ends[0])} – {number(ends[1])}" if ends else NOT_MEASURED


def _groups(kind: str, groups: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]) -> Html:
    """One row a class or camera; few boxes are no ground to judge it by itself."""
    bound, least = limits.get(f"min_{kind}_recall"), limits.get("min_group_evidence", 0)
    rows = []
    for group in groups:
        is_judged = bound is not None and group.get("evidence", 0) >= least
        needed = _group_mark(group.get("recall", 0.0), bound) if is_judged and bound is not None else "too few boxes"
        figures = (group.get(key) for key in ("ap", "extra", "score_shift"))
        start = (group.get("name", "") or "–", group.get("evidence"), group.get("recall"))
        rows.append((*start, _range(group.get("recall_interval")), *figures, needed))
    return table(f"By {kind}", (kind.capitalize(), *_GROUP_COLUMNS), rows)


def _group_mark(recall: float, bound: float) -> Html:
    mark, class_ = ("✓", "pass") if recall >= bound else ("✗", "fail")
    return tag("span", f"{mark} recall ≥ {number(bound)}", class_=class_)


def _labelled(truth: Mapping[str, Mapping[str, Any]]) -> Html:
    keys = list(dict.fromkeys(key for one in truth.values() for key in one))
    rows = [(build, *(one.get(key) for key in keys)) for build, one in truth.items()]
    titles = ("Build", *(key.replace("_", " ") for key in keys))
    return table("Accuracy on your own labels, as COCO counts it", titles, rows, "no labels were given")


def _used(counts: Sequence[int]) -> Tuple[List[float], Sequence[int]]:
    """Borders and counts of the bins from -.5 to .5, without those that are empty on both sides."""
    bins = len(counts)
    filled = [place for place, count in enumerate(counts) if count]
    if not filled:
        return [], ()
    cut = min(filled[0], bins - 1 - filled[-1])
    edges = [round(place / bins - 0.5, 6) for place in range(cut, bins - cut + 1)]
    return edges, counts[cut : bins - cut]
