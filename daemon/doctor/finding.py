"""One thing that the doctor found, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

from sightd.redact import redact

__all__ = ["NOTE", "OK", "PROBLEM", "WARNING", "Area", "Finding", "parted"]

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """What was found about one thing; holds no password."""

    #: The chapter of the report: "disk", "cameras" ...
    area: str
    #: The thing within it: "state folder", a camera's name ...
    name: str
    #: "ok"; "note": worth knowing; "warning": works, but not well or not for long; "problem": does not work.
    level: str
    says: str
    #: What to type or do; never empty for a warning or a problem.
    fix: str = ""


@dataclass(frozen=True)
class Area:
    """Makes the findings of one area, and takes passwords out of each."""

    title: str

    def ok(self, name: str, says: str) -> Finding:
        return self._finding(name, OK, says, "")

    def note(self, name: str, says: str, fix: str = "") -> Finding:
        return self._finding(name, NOTE, says, fix)

    def warning(self, name: str, says: str, fix: str) -> Finding:
        return self._finding(name, WARNING, says, fix)

    def problem(self, name: str, says: str, fix: str) -> Finding:
        return self._finding(name, PROBLEM, says, fix)

    def _finding(self, name: str, level: str, says: str, fix: str) -> Finding:
        return Finding(self.title, name, level, redact(says), redact(fix))


def parted(message: str, otherwise: str) -> Tuple[str, str]:
    """An error's message as what is wrong and what to do; *otherwise* is the latter when it does not say.

    Our errors say both: ``WHAT; TO DO``, ``WHAT (REASON): TO DO`` or ``WHAT: check ...``.
    """
    for pattern in (r"(.+); (.+)", r"(.+\)): (.+)", r"(.+): (check .+)"):
        match = re.fullmatch(pattern, message, re.DOTALL)
        if match:
            return match.group(1), match.group(2)
    return message, otherwise
