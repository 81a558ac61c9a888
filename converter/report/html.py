"""HTML and SVG out of calls: text is escaped where it enters, so no name of a camera or class can become markup."""

from __future__ import annotations

import re
from html import escape
from typing import Iterable, List, Optional, Sequence, Tuple

__all__ = ["NOT_MEASURED", "Html", "facts", "heading", "number", "table", "tag"]

NOT_MEASURED = "not measured"
_VOID = {"img", "meta"}
#: What no XML can hold, not even escaped, and a browser then shows none of an SVG; names of nodes and files may.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Html(str):
    """Text that is markup already; all other text is escaped."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element; an attribute's ``_`` stands for ``-`` (a last one is dropped), None leaves it or a child out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{''.join(_markup(child) for child in children)}</{name}>")


def number(value: object) -> str:
    """A figure for people: three or so significant digits, thousands apart."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, int) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    for least, digits in ((100.0, 0), (10.0, 1), (2.0, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0: no minus before a nought


def heading(title: str, anchor: str, *children: object) -> Html:
    """A section of the page."""
    return tag(
        "section", tag("h2", title, id=f"{anchor}-title"), *children, id=anchor, aria_labelledby=f"{anchor}-title"
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = NOT_MEASURED) -> Html:
    """A table whose first column names the rows; numbers are formatted and stand at the right.

    Scrolls sideways by itself where the screen is too narrow. Without rows: *caption* and *empty*.
    """
    body = list(rows)
    if not body:
        return tag("p", f"{caption}: {empty}.", class_="none")
    titles = [tag("th", column, scope="col", class_=_kind(cell)) for column, cell in zip(columns, body[0])]
    head = tag("thead", tag("tr", titles))
    whole = tag("table", tag("caption", caption), head, tag("tbody", [_row(row) for row in body]))
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(caption: str, pairs: Iterable[Tuple[str, object]]) -> Html:
    """A table of two columns without a head: what something is, and its value."""
    whole = tag("table", tag("caption", caption), tag("tbody", [_row(pair) for pair in pairs]), class_="facts")
    return tag("div", whole, class_="scroll")


def _row(row: Sequence[object]) -> Html:
    first, rest = row[0], row[1:]
    return tag(
        "tr", tag("th", _text(first), scope="row"), [tag("td", _text(cell), class_=_kind(cell)) for cell in rest]
    )


def _kind(cell: object) -> Optional[str]:
    return "n" if isinstance(cell, (int, float)) and not isinstance(cell, bool) else None


def _text(cell: object) -> object:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return cell if isinstance(cell, str) else number(cell)


def _markup(child: object) -> str:
    if isinstance(child, Html):
        return child
    if child is None:
        return ""
    if isinstance(child, (list, tuple)):
        parts: List[str] = [_markup(part) for part in child]
        return "".join(parts)
    return _escaped(child)


def _escaped(text: object) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(text)))
