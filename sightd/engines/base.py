"""The engine seam: what the daemon and the converter know of any engine.

Life, all on one thread (the inference thread)::

    with open_engine(bundle) as engine:
        slot = engine.slot()                     # a free input buffer
        places = [slot.put(i, image) for i, image in enumerate(images)]
        ticket = engine.submit(slot, len(images))   # returns at once, the engine computes
        ...                                      # fill the next slot meanwhile
        candidates = ticket.result()             # waits, copies out, frees the slot

An engine may compute on threads or streams of its own; nothing of that shows here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Optional, Type

from ..types import Candidates, Image, Placement

__all__ = ["Engine", "EngineOptions", "Slot", "Ticket"]


@dataclass(frozen=True)
class EngineOptions:
    """What the user may set about any engine."""

    #: CPU threads for computing; 0 takes one a core.
    threads: int = 0
    #: Largest batch to use, never above the bundle's; 0 takes the bundle's.
    max_batch: int = 0
    #: Where pictures are resized: "cpu", "gpu" (TensorRT engines only), "auto" tries both and keeps the faster.
    preprocess: str = "auto"


class Slot(ABC):
    """An input buffer for up to ``capacity`` pictures, owned by its engine."""

    capacity: int

    @abstractmethod
    def put(self, index: int, image: Image) -> Placement:
        """Resize *image* ([H, W, 3] uint8 BGR) into place *index* by the input spec and say where it lies."""


class Ticket(ABC):
    """A batch on its way through the engine."""

    @abstractmethod
    def done(self) -> bool:
        """Whether :meth:`result` would return at once."""

    @abstractmethod
    def result(self) -> Candidates:
        """Wait, return the candidates as owned copies and free the slot. Once only.

        :raises EngineError: the engine failed on this batch; the slot is free again.
        """


class Engine(ABC):
    """A loaded model. Opened, used and closed on one thread."""

    #: Largest batch that :meth:`submit` takes.
    max_batch: int
    #: Batches that may be under way at once (the number of slots).
    depth: int
    #: [H, W, 3] uint8 BGR of the input's size: a picture on which it finds something, from whoever has opened it and
    #: knows one, for :meth:`warm_up` to check by what it chooses. Most engines choose nothing.
    known: Optional[Image] = None

    @abstractmethod
    def slot(self) -> Slot:
        """A free slot. The caller submits it, at most ``depth`` are out at once.

        :raises EngineError: none is free; collect a ticket first.
        """

    @abstractmethod
    def submit(self, slot: Slot, count: int) -> Ticket:
        """Start on the first *count* pictures of *slot* and return at once.

        :raises EngineError: *count* is not in 1..max_batch, or the slot is not one lent by this engine.
        """

    @abstractmethod
    def close(self) -> None:
        """Wait for what is under way and free everything. Idempotent."""

    def warm_up(self, image: Image) -> None:
        """Run *image* at batch 1 and at the largest batch, so that first-use costs are paid before frames come."""
        for count in sorted({1, self.max_batch}):
            slot = self.slot()
            for index in range(count):
                slot.put(index, image)
            self.submit(slot, count).result()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
