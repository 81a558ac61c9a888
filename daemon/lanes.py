"""One model at work: its engine, and the batches that are under way in it and in the classifiers behind it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Deque, Iterator, List

from sightd.engines import Engine, Ticket
from sightd.errors import naming
from sightd.types import Batch, Frame

from .batches import Inferred
from .classifiers import Classification, Classifiers
from .plan import Plan
from .progress import Progress

__all__ = ["Lane"]

#: Batches in the engine: one that it computes, one that follows at once.
_IN_ENGINE = 2
#: Batches in all. The others wait for classifiers: where those are slow, frames are dropped in the cameras' slots.
_UNDER_WAY = 4


class Lane:
    """A detector. Batches leave it in the order in which they were launched. Inference thread only.

    :param bundle: its folder, by which plans name the model.
    :param progress: steps with this model's batches alone: that others get on must not hide that its engine hangs.
    """

    def __init__(self, bundle: str, engine: Engine, classifiers: Classifiers, progress: Progress) -> None:
        self.bundle = bundle
        self._engine, self._classifiers, self._progress = engine, classifiers, progress
        self._detecting: Deque[_Flight] = deque()
        self._classifying: Deque[Classification] = deque()

    @property
    def room(self) -> int:
        """How many frames may be launched now."""
        full = len(self._detecting) >= _IN_ENGINE or self.under_way >= _UNDER_WAY
        return 0 if full else self._engine.max_batch

    @property
    def under_way(self) -> int:
        """Batches in the engine, and batches that wait for classifiers."""
        return len(self._detecting) + len(self._classifying)

    @property
    def awaited(self) -> int:
        """How many batches could be the next that gets on: the oldest in the engine, the oldest in classifiers."""
        return bool(self._detecting) + bool(self._classifying)

    def waits(self, plan: Plan) -> bool:
        """Whether :meth:`advance` has a batch to wait for; not while the classifiers are full of other models'."""
        return self._may_move_on(plan) or bool(self._classifying)

    def launch(self, frames: List[Frame]) -> None:
        """Put *frames*, at most ``room``, into the engine.

        :raises EngineError: the engine failed; the message names the bundle.
        """
        self._progress.step(holding=True)
        taken_at = time.monotonic()
        with naming(self.bundle):
            slot = self._engine.slot()
            placements = [slot.put(index, frame.image) for index, frame in enumerate(frames)]
            submitted_at = time.monotonic()
            ticket = self._engine.submit(slot, len(frames))
        self._detecting.append(_Flight(Batch(frames, placements), ticket, taken_at, submitted_at))

    def ready(self, plan: Plan) -> bool:
        """Whether :meth:`advance` would get a batch on without waiting."""
        detected = self._may_move_on(plan) and self._detecting[0].ticket.done()
        return detected or (bool(self._classifying) and self._classifying[0].done())

    def advance(self, plan: Plan) -> Iterator[Inferred]:
        """Get the next batch on, waiting where it is not done: from the engine to the classifiers, or out of them.

        :return: the batches that are through.
        :raises EngineError: an engine failed; the message names its bundle or the classifier.
        """
        if self._may_move_on(plan) and (self._detecting[0].ticket.done() or not self._classifying):
            with naming(self.bundle):
                inferred = self._detecting.popleft().collect(self.bundle)
            self._classifying.append(self._classifiers.ask(inferred, plan))
        elif self._classifying:
            yield self._classifying.popleft().result()
        while self._classifying and self._classifying[0].done():
            yield self._classifying.popleft().result()
        self._progress.step(holding=self.under_way > 0)

    def _may_move_on(self, plan: Plan) -> bool:
        if not self._detecting:
            return False
        return self._classifiers.have_room(self.bundle, self._detecting[0].batch.frames, plan)


@dataclass(frozen=True)
class _Flight:
    batch: Batch
    ticket: Ticket
    taken_at: float
    submitted_at: float

    def collect(self, bundle: str) -> Inferred:
        candidates = self.ticket.result()
        return Inferred(bundle, self.batch, candidates, self.taken_at, self.submitted_at, time.monotonic())
