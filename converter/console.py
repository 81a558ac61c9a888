"""Progress on a terminal: bars and lines; elsewhere plain lines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterator

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from .progress import Progress

__all__ = ["Console"]


class Console(Progress):
    """Says everything on standard output."""

    def __init__(self) -> None:
        self._terminal = Terminal(soft_wrap=True, highlight=False)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=self._terminal) as bars:
            task = bars.add_task(title, total=total)
            yield lambda: bars.advance(task)

    def say(self, sentence: str) -> None:
        self._terminal.print(sentence, markup=False)
