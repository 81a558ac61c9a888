"""The picture of a model's graph: blocks with the precision they compute in, and the tensors between them, as one SVG.

It needs nothing else, so that it opens in any browser; inside the report it follows light and dark like the page.
"""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple

import onnx

from .blocks import KINDS, Block, blocks
from .html import Html, tag
from .layout import Layout, arranged

__all__ = ["draw_graph"]

_HEIGHT, _ROW, _GAP = 26, 58, 18
_MARGIN, _TOP = 16, 64
_LETTER, _PILL = 6.6, 36
_MOST_NAMES = 12
_PRECISIONS = {"int8": "INT8", "fp16": "FP16", "fp32": "FP32"}

_STYLE = """
.g { font: 12px system-ui, "DejaVu Sans", sans-serif; }
.g-page { fill: #ffffff; } .g text { fill: #1c2430; }
.g .g-soft { fill: #5b6675; font-size: 10.5px; stroke: #ffffff; stroke-width: 3px; paint-order: stroke; }
.g .g-edge { fill: none; stroke: #8b96a5; stroke-width: 1.4; } .g .g-skip { stroke: #b06ac4; stroke-width: 1.8; }
.g-box { stroke: #8b96a5; }
.g-convolution { fill: #d6e6f7; } .g-pooling { fill: #d9efdc; } .g-joining { fill: #fdeccb; }
.g-moving { fill: #e9e4f5; } .g-other { fill: #eef1f4; } .g-sightd { fill: #fbdfe0; }
.g .g-pill text { fill: #ffffff; font-size: 10px; font-weight: 600; }
.g-int8 { fill: #146c3a; } .g-fp16 { fill: #2f6fb5; } .g-fp32 { fill: #a34a08; }
@media (prefers-color-scheme: dark) {
  .g-page { fill: #14181f; } .g .g-note { fill: #e6eaf0; } .g .g-soft { fill: #a3adba; stroke: #14181f; }
  .g .g-edge { stroke: #7b8797; } .g .g-skip { stroke: #d59be6; }
}
"""


def draw_graph(model: onnx.ModelProto, precisions: Mapping[str, str], title: str) -> Html:
    """The SVG of *model*.

    :param precisions: node name -> "int8", "fp16" or "fp32".
    :param title: what the picture is of.
    """
    found, edges = blocks(model, precisions)
    layout = arranged([_width(block) for block in found], [(edge.source, edge.target) for edge in edges], _GAP)
    width = max(layout.width + 2 * _MARGIN, 640)
    height = _TOP + (max(layout.layers, default=0) + 1) * _ROW
    inset = (width - layout.width) / 2
    parts = [
        tag("title", title),
        tag("style", Html(_STYLE)),
        tag("rect", width="100%", height="100%", class_="g-page"),
        _legend(title, found),
        [_edge(one, layout, inset) for one in layout.bends],
        [_box(block, layout.x[place] + inset, _y(layout.layers[place])) for place, block in enumerate(found)],
    ]
    return tag(
        "svg",
        parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=title,
        class_="g",
    )


def _legend(title: str, found: Sequence[Block]) -> Html:
    """What the picture is of, how many blocks compute in which precision, and what the colours mean."""
    counts = [(name, sum(block.precision == key for block in found)) for key, name in _PRECISIONS.items()]
    told = ", ".join(f"{count} {name}" for name, count in counts if count)
    parts = [tag("text", f"{title}: {told}" if told else title, x=_MARGIN, y=24, class_="g-note", font_weight=600)]
    x = float(_MARGIN)
    for kind in (kind for kind in KINDS if any(block.kind == kind for block in found)):
        parts.append(tag("rect", x=_at(x), y=38, width=12, height=12, rx=2, class_=f"g-box g-{kind}"))
        parts.append(tag("text", kind, x=_at(x + 18), y=48, class_="g-note"))
        x += 34 + _LETTER * len(kind)
    parts.append(tag("path", d=f"M{x:.1f} 44h24", class_="g-edge g-skip"))
    parts.append(tag("text", "skips layers", x=_at(x + 30), y=48, class_="g-note"))
    return tag("g", parts)


def _box(block: Block, x: float, y: float) -> Html:
    """A block with its title, precision, the shape that leaves it, and the names of its nodes as the tooltip."""
    width = _width(block)
    left = x - width / 2
    more = len(block.nodes) - _MOST_NAMES
    names = [*block.nodes[:_MOST_NAMES], *([f"and {more} more"] if more > 0 else [])]
    precision = _PRECISIONS.get(block.precision, "")
    parts = [
        tag("title", "\n".join([" ".join(filter(None, (block.title, precision, block.shape))), *names])),
        tag("rect", x=_at(left), y=y, width=_at(width), height=_HEIGHT, rx=5, class_=f"g-box g-{block.kind}"),
        tag("text", block.title, x=_at(left + 9), y=y + 17),
    ]
    if precision:
        pill = left + width - _PILL - 5
        parts.append(
            tag(
                "g",
                tag("rect", x=_at(pill), y=y + 5, width=_PILL, height=16, rx=8, class_=f"g-{block.precision}"),
                tag("text", precision, x=_at(pill + _PILL / 2), y=y + 16.5, text_anchor="middle"),
                class_="g-pill",
            )
        )
    if block.shape:
        parts.append(tag("text", block.shape, x=_at(x + 5), y=y + _HEIGHT + 12, class_="g-soft"))
    return tag("g", parts)


def _edge(edge: Tuple[int, int], layout: Layout, inset: float) -> Html:
    """A curve from the foot of one box to the head of another, straight through the layers that it passes."""
    source, target = edge
    passed = layout.bends[edge]
    x, y = layout.x[source] + inset, _y(layout.layers[source]) + _HEIGHT
    path: List[str] = [f"M{x:.1f} {y}"]
    for layer, place in [*passed, (layout.layers[target], layout.x[target])]:
        end_x, end_y = place + inset, _y(layer)
        middle = (y + end_y) / 2
        path.append(f"C{x:.1f} {middle:.1f} {end_x:.1f} {middle:.1f} {end_x:.1f} {end_y}")
        x, y = end_x, end_y
        if layer != layout.layers[target]:
            y += _HEIGHT
            path.append(f"V{y}")
    return tag("path", d="".join(path), class_="g-edge g-skip" if passed else "g-edge")


def _width(block: Block) -> float:
    return 20 + _LETTER * len(block.title) + (_PILL + 8 if block.precision else 0)


def _y(layer: int) -> int:
    return _TOP + layer * _ROW


def _at(value: float) -> str:
    return f"{value:.1f}"
