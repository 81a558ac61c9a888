"""The findings as text for people and as one JSON object for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import List

from rich.console import Console
from rich.text import Text

from .finding import NOTE, OK, PROBLEM, WARNING, Finding

__all__ = ["as_json", "print_report", "summary"]

_STYLES = {OK: "green", NOTE: "cyan", WARNING: "yellow", PROBLEM: "bold red"}
_INDENT = 2 + len(PROBLEM) + 2


def print_report(findings: List[Finding], console: Console) -> None:
    """One block an area; lines are folded on a terminal only, so that what is piped can be searched."""
    width = console.width if console.is_terminal else 0
    for area, group in groupby(findings, key=lambda finding: finding.area):
        console.print(Text(area, style="bold"), soft_wrap=True)
        for finding in group:
            console.print(_lines(finding, width), soft_wrap=True)
    console.print(summary(findings), soft_wrap=True)


def as_json(findings: List[Finding]) -> str:
    """``{"ok": whether there is no problem, "findings": [{area, name, level, says, fix}]}``."""
    sound = all(finding.level != PROBLEM for finding in findings)
    return json.dumps({"ok": sound, "findings": [asdict(finding) for finding in findings]}, ensure_ascii=False)


def summary(findings: List[Finding]) -> str:
    """As "2 problems, 1 warning"."""
    counts = {level: sum(finding.level == level for finding in findings) for level in (PROBLEM, WARNING)}
    said = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    return ", ".join(said) or "no problems, no warnings"


def _lines(finding: Finding, width: int) -> Text:
    text = Text(f"  {finding.level:<{len(PROBLEM)}}  ")
    text.stylize(_STYLES[finding.level])
    text.append(_folded(f"{finding.name}: {finding.says}", width))
    if finding.fix:
        text.append("\n" + " " * _INDENT + _folded(f"fix: {finding.fix}", width))
    return text


def _folded(text: str, width: int) -> str:
    """*text* with its own line breaks, and those that *width* asks for, indented; 0: as long as it is."""
    room = max(20, width - _INDENT)
    lines = []
    for line in text.splitlines():
        lines += [str(part) for part in Text(line).wrap(Console(width=room), room)] if width else [line]
    return ("\n" + " " * _INDENT).join(line.rstrip() for line in lines)
