"""The report as one HTML page that needs nothing else: style and pictures inside, no script."""

from __future__ import annotations

from . import agreement, making, serving
from .data import ReportData
from .html import Html, tag
from .pictures import Pictures
from .style import STYLE

__all__ = ["page"]

_PRIVACY = (
    "This file holds pictures of your cameras, and so perhaps of people: keep it as you keep the footage. "
    "It loads nothing from elsewhere and sends nothing."
)
_CONTENTS = (
    ("verdict", "Verdict"),
    ("agreement", "Agreement"),
    ("scores", "Score shift"),
    ("worst", "Worst frames"),
    ("search", "The search"),
    ("layers", "Layers"),
    ("graph", "Graph"),
    ("calibration", "Calibration set"),
    ("speed", "Speed and size"),
    ("reproduce", "How to reproduce"),
    ("limits", "What the gate can't see"),
)


def page(data: ReportData, pictures: Pictures) -> str:
    """The whole page, UTF-8 when encoded."""
    title = f"Conversion of {data.manifest.model.name}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    sections = (
        agreement.verdict(data),
        _contents(),
        agreement.agreement(data),
        agreement.scores(data),
        agreement.worst_frames(data, pictures.pairs),
        making.search(data),
        making.layers(data),
        making.graph(pictures.graph),
        making.calibration(data, pictures.sheet),
        serving.speed(data),
        serving.reproduce(data),
        serving.limits(),
    )
    body = tag("body", tag("main", tag("h1", title), sections), tag("footer", _PRIVACY))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _contents() -> Html:
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in _CONTENTS]
    return tag("nav", tag("ol", links), aria_label="Contents")
