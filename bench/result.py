"""What a bench returns, and how it is printed: a table for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from typing import Any, Dict, List, Sequence

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

__all__ = ["Result", "show"]


@dataclass(frozen=True)
class Result:
    """The answer of one bench."""

    name: str
    #: The names that DESIGN fixes, plus more; plain numbers, strings and booleans.
    figures: Dict[str, Any]
    columns: Sequence[str]
    rows: List[Sequence[Any]]
    conditions: Dict[str, Any] = field(default_factory=dict)


def show(result: Result, as_json: bool) -> None:
    """Print the table, and with *as_json* the object on the last line."""
    table = Table(title=result.name)
    for column in result.columns:
        table.add_column(column)
    for row in result.rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=120).print(table)
    if as_json:
        conditions = {**_machine(), **result.conditions}
        print(json.dumps({"name": result.name, "figures": result.figures, "conditions": conditions}))


def _machine() -> Dict[str, Any]:
    return {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }
