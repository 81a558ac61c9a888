"""What the converter tells whoever waits for it; the command line draws bars, a test listens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import Callable, ContextManager, Iterator

__all__ = ["Progress", "Silent"]


class Progress(ABC):
    """Where a conversion stands."""

    @abstractmethod
    def stage(self, title: str, total: int) -> ContextManager[Callable[[], None]]:
        """A stage of *total* steps; call what it yields after each."""

    @abstractmethod
    def say(self, sentence: str) -> None:
        """A result worth a line of its own."""


class Silent(Progress):
    """For who does not care."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        yield lambda: None

    def say(self, sentence: str) -> None:
        pass
