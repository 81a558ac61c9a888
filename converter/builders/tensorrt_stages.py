"""A TensorRT build as stages of a conversion's progress."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Callable, Optional, Type

from ..progress import Progress
from .tensorrt_order import Cache, Facts, Finished, Message, Step, Wanted

__all__ = ["Stages"]

_PERCENT = 100


class Stages:
    """First "calibrating", a step a batch, where pictures are asked for; then "building"."""

    def __init__(self, progress: Progress, title: str, batches: int) -> None:
        """For one build.

        :param batches: of calibration pictures, should they be asked for.
        """
        self._progress, self._title, self._batches = progress, title, batches
        self._stack = ExitStack()
        self._step: Callable[[], None] = lambda: None
        #: Of the stage that is open.
        self._total = self._done = 0
        self._stage = ""
        self._building = 1

    def hear(self, message: Message) -> None:
        """Show what the worker says."""
        if isinstance(message, Facts):
            self._building = _PERCENT if message.tells else 1
        if isinstance(message, Wanted):
            self._open(f"{self._title}: calibrating", self._batches)
            self._advance(self._done + 1)
        elif isinstance(message, Cache) or not self._batches:
            self._batches = 0  # calibration is done, or was not needed
            self._open(f"{self._title}: building", self._building)
        if isinstance(message, Step) and not self._batches:
            self._advance(int(message.fraction * self._total))
        elif isinstance(message, Finished):
            self._advance(self._total)

    def _open(self, stage: str, total: int) -> None:
        if stage != self._stage:
            self._stack.close()
            self._stage, self._total, self._done = stage, total, 0
            self._step = self._stack.enter_context(self._progress.stage(stage, total))

    def _advance(self, done: int) -> None:
        for _ in range(done - self._done):
            self._step()
        self._done = max(self._done, done)

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._stack.close()
