"""An engine without threads: its batches are done by a clock that the test moves on."""

from __future__ import annotations

from typing import Dict, List, Optional

import numpy as np
from numpy.typing import NDArray

from sightd.engines import Engine, Slot, Ticket
from sightd.engines.slot_pool import HostSlot, SlotPool
from sightd.types import Candidates, InputSpec

__all__ = ["Clock", "PatientEngine"]

_SPEC = InputSpec(64, 48)


class Clock:
    """Counts ticks."""

    now = 0


class PatientEngine(Engine):
    """Finds one object of class 0 in every picture: the whole of it, with score 0.9.

    :param ticks: of *clock* that a batch takes; of the batches in it one is computed at a time.
    """

    depth = 2

    def __init__(
        self, ticks: int = 0, clock: Optional[Clock] = None, *, max_batch: int = 4, spec: InputSpec = _SPEC
    ) -> None:
        self.max_batch = max_batch
        self.clock = clock or Clock()
        self._ticks, self._spec, self._free_at = ticks, spec, 0
        self._slots = SlotPool([HostSlot(spec, max_batch) for _ in range(self.depth)])
        #: Pictures of each batch, as submitted: [count, H, W, 3] copies.
        self.seen: List[NDArray[np.uint8]] = []
        #: How many batches were under way at most.
        self.most_under_way = 0
        #: How often a result was asked for before it was there, so that a real engine would have blocked.
        self.blocked = 0
        self._under_way: Dict[int, _Ticket] = {}

    def slot(self) -> Slot:
        return self._slots.lend()

    def submit(self, slot: Slot, count: int) -> Ticket:
        own = self._slots.checked(slot, count)
        self.seen.append(own.pixels[:count].copy())
        self._free_at = max(self._free_at, self.clock.now) + self._ticks
        ticket = _Ticket(self, own, count, self._free_at)
        self._under_way[id(ticket)] = ticket
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        return ticket

    def close(self) -> None:
        pass

    def take_back(self, ticket: _Ticket, slot: HostSlot, count: int) -> Candidates:
        """The slot is free again; what was found in *count* pictures."""
        del self._under_way[id(ticket)]
        self._slots.take_back(slot)
        whole = np.array([0, 0, self._spec.width, self._spec.height], np.float32)
        boxes = np.broadcast_to(whole, (count, 1, 4)).copy()
        return Candidates(boxes, np.full((count, 1), 0.9, np.float32), np.zeros((count, 1), np.int32))


class _Ticket(Ticket):
    def __init__(self, engine: PatientEngine, slot: HostSlot, count: int, done_at: int) -> None:
        self._engine, self._slot, self._count = engine, slot, count
        self._done_at = done_at

    def done(self) -> bool:
        return self._engine.clock.now >= self._done_at

    def result(self) -> Candidates:
        self._engine.blocked += not self.done()
        return self._engine.take_back(self, self._slot, self._count)
