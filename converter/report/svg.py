"""Small plots as inline SVG: drawn for a phone's width, coloured by the page's style, readable without colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from .html import Html, tag

__all__ = ["Point", "Series", "bars", "bullet", "columns", "lines", "scatter"]

_WIDTH, _HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 14, 40


@dataclass(frozen=True)
class Point:
    """One trial in a scatter plot."""

    x: float
    y: float
    name: str
    #: Drawn as a disc; else as a cross.
    good: bool


@dataclass(frozen=True)
class Series:
    """One line; *points* are (x, y) in order of x."""

    name: str
    points: Sequence[Tuple[float, float]]


def bars(title: str, values: Sequence[Tuple[str, float]], marked: Sequence[str]) -> Html:
    """A horizontal bar for each (name, value ≥ 0), its name above; those of *marked* are striped."""
    most = max((value for _, value in values), default=0.0) or 1.0
    row = 32
    parts: List[Html] = []
    for place, (name, value) in enumerate(values):
        y = place * row
        length = max(1.0, 330 * value / most)
        parts += [
            tag("text", _shortened(name), x=0, y=y + 11),
            tag("rect", x=0, y=y + 17, width=_at(length), height=9, class_="float" if name in marked else "bar"),
            tag("text", f"{value:.3g}", x=_at(length + 6), y=y + 26),
        ]
    return _plot(title, parts, height=row * len(values) + 4)


def bullet(
    title: str, value: float, interval: Tuple[float, float], bounds: Sequence[float], span: Tuple[float, float]
) -> Html:
    """A figure as a dot with its interval, against the *bounds* that it must keep, on the scale *span*."""
    start, stop = span

    def x(at: float) -> float:
        return 6 + 228 * min(1.0, max(0.0, (at - start) / (stop - start)))

    low, high = interval
    parts = [
        tag("rect", x=6, y=9, width=228, height=6, class_="track"),
        tag("rect", x=_at(x(low)), y=7, width=_at(max(1.0, x(high) - x(low))), height=10, class_="interval"),
        *(tag("line", x1=_at(x(bound)), x2=_at(x(bound)), y1=1, y2=23, class_="bound") for bound in bounds),
        tag("circle", cx=_at(x(value)), cy=12, r=4, class_="dot"),
    ]
    return _plot(title, parts, width=240, height=24, class_="bullet")


def columns(title: str, edges: Sequence[float], counts: Sequence[float], x_label: str, y_label: str) -> Html:
    """A histogram: ``counts[i]`` lies between ``edges[i]`` and ``edges[i + 1]``."""
    frame = _Frame.around(edges, [0.0, *counts])
    parts = frame.axes(x_label, y_label)
    for left, right, count in zip(edges, edges[1:], counts):
        top, width = frame.y(count), frame.x(right) - frame.x(left) - 1
        parts.append(
            tag(
                "rect",
                tag("title", f"{left:g} to {right:g}: {count:g}"),
                x=_at(frame.x(left)),
                y=_at(top),
                width=_at(max(0.5, width)),
                height=_at(frame.y(0) - top),
                class_="bar",
            )
        )
    if edges[0] < 0 < edges[-1]:
        parts.append(tag("line", x1=_at(frame.x(0)), x2=_at(frame.x(0)), y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="bound"))
    return _plot(title, parts)


def scatter(title: str, points: Sequence[Point], x_label: str, y_label: str, x_bound: float, y_bound: float) -> Html:
    """Each point with its name, a disc when good and a cross when not, and the two bounds as dashed lines."""
    frame = _Frame.around(
        _widened([x_bound, *(point.x for point in points)]), _widened([y_bound, *(point.y for point in points)])
    )
    parts = [*frame.axes(x_label, y_label), *frame.bounds(x_bound, y_bound)]
    for point in points:
        x, y = frame.x(point.x), frame.y(point.y)
        if point.good:
            parts.append(tag("circle", cx=_at(x), cy=_at(y), r=5, class_="good"))
        else:
            parts.append(tag("path", d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8", class_="bad"))
        parts.append(tag("text", point.name, x=_at(x + 8), y=_at(y - 5)))
    return _plot(title, parts)


def lines(title: str, series: Sequence[Series], x_label: str, y_label: str) -> Html:
    """One line a series, told apart by dashes, colour and the legend above."""
    frame = _Frame.around(
        [x for one in series for x, _ in one.points], [0.0, *(y for one in series for _, y in one.points)]
    )
    parts = frame.axes(x_label, y_label)
    for place, one in enumerate(series):
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in one.points)
        at = _LEFT + 8 + place * 180
        parts += [
            tag("polyline", points=path, class_=f"line line{place}"),
            tag("line", x1=at, x2=at + 24, y1=6, y2=6, class_=f"line line{place}"),
            tag("text", _shortened(one.name, 24), x=at + 30, y=10),
        ]
    return _plot(title, parts)


@dataclass(frozen=True)
class _Frame:
    """The axes: values to places in the plot."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float]) -> _Frame:
        return cls(*_range(xs), *_range(ys))

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (value - self.low) / (self.high - self.low)

    def axes(self, x_label: str, y_label: str) -> List[Html]:
        bottom = _HEIGHT - _BOTTOM
        parts = [tag("text", x_label, x=_WIDTH - _RIGHT, y=_HEIGHT - 6, text_anchor="end")]
        parts.append(tag("text", y_label, x=0, y=0, transform=f"translate(10 {_TOP}) rotate(-90)", text_anchor="end"))
        for tick in _ticks(self.left, self.right, 6):
            parts.append(tag("text", f"{tick:g}", x=_at(self.x(tick)), y=bottom + 15, text_anchor="middle"))
        for tick in _ticks(self.low, self.high, 5):
            y = _at(self.y(tick))
            parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", f"{tick:g}", x=_LEFT - 5, y=_at(self.y(tick) + 4), text_anchor="end"))
        return parts

    def bounds(self, x: float, y: float) -> List[Html]:
        ends = {"x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": _at(self.y(y)), "y2": _at(self.y(y))}
        upright = {"x1": _at(self.x(x)), "x2": _at(self.x(x)), "y1": _TOP, "y2": _HEIGHT - _BOTTOM}
        return [tag("line", **ends, class_="bound"), tag("line", **upright, class_="bound")]


def _range(values: Sequence[float]) -> Tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, count: int) -> List[float]:
    """Round numbers between *low* and *high*, about *count* of them."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(place * step, 10) for place in range(first, last + 1)]


def _widened(values: Sequence[float]) -> Tuple[float, float]:
    """Their range with room on both sides for marks and names."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low)
    return low - room, high + room


def _plot(
    title: str, parts: Sequence[Html], *, width: int = _WIDTH, height: int = _HEIGHT, class_: str = "plot"
) -> Html:
    attributes = {"viewBox": f"0 0 {width} {height}", "role": "img", "aria_label": title, "class_": class_}
    return tag("svg", tag("title", title), list(parts), **attributes)


def _at(value: float) -> str:
    return f"{value:.1f}"


def _shortened(name: str, most: int = 58) -> str:
    """The end of a long name, which is what tells layers apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
