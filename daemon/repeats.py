"""Log lines of what changes to and fro: all of them at first, then some, and how it stayed in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = ["Repeats"]

#: How often the same may be said at once, and after how many seconds again.
AT_ONCE, AGAIN_AFTER_S = 3, 600.0
#: What holds for so many seconds is worth a line, however often it was said.
HOLDS_S = 10.0
_MOST_LINES = 16


@dataclass
class _Line:
    text: str
    logged_s: float
    count: int = 0
    withheld: int = 0


class Repeats:
    """One part's; times are monotonic."""

    def __init__(self) -> None:
        self._lines: Dict[str, _Line] = {}
        #: What was said last, and when, where it was withheld.
        self._pending: Optional[Tuple[_Line, float]] = None

    def said(self, text: str, now_s: float) -> str:
        """What to log of *text*; "": nothing, for the same was logged often enough."""
        line = self._lines.pop(text, None) or _Line(text, now_s)
        self._lines[text] = line
        if len(self._lines) > _MOST_LINES:
            del self._lines[next(iter(self._lines))]
        line.count += 1
        self._pending = None
        if line.count <= AT_ONCE or now_s - line.logged_s >= AGAIN_AFTER_S:
            return _logged(line, now_s)
        line.withheld += 1
        self._pending = line, now_s
        return ""

    def held(self, now_s: float) -> str:
        """What to log of what was withheld, now that it holds; "": nothing."""
        if self._pending is None or now_s - self._pending[1] < HOLDS_S:
            return ""
        line, self._pending = self._pending[0], None
        line.withheld -= 1
        return _logged(line, now_s)


def _logged(line: _Line, now_s: float) -> str:
    since = f" ({line.withheld + 1} times in the last {now_s - line.logged_s:.0f} s)" if line.withheld else ""
    line.logged_s, line.withheld = now_s, 0
    return line.text + since
