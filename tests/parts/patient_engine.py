"""An engine without threads or clocks: each batch is done after it was asked so often whether it is."""

from __future__ import annotations

from typing import Dict, List

import numpy as np
from numpy.typing import NDArray

from sightd.engines import Engine, Slot, Ticket
from sightd.engines.slot_pool import HostSlot, SlotPool
from sightd.types import Candidates, InputSpec

__all__ = ["PatientEngine"]

_SPEC = InputSpec(64, 48)


class PatientEngine(Engine):
    """Finds one object of class 0 in every picture: the whole of it, with score 0.9.

    :param questions: so often ``done()`` says no. ``result()`` must not be called before: it would block a real engine.
    """

    depth = 2

    def __init__(self, questions: int = 0, *, max_batch: int = 4, spec: InputSpec = _SPEC) -> None:
        self.max_batch = max_batch
        self._questions, self._spec = questions, spec
        self._slots = SlotPool([HostSlot(spec, max_batch) for _ in range(self.depth)])
        #: Pictures of each batch, as submitted: [count, H, W, 3] copies.
        self.seen: List[NDArray[np.uint8]] = []
        #: How many batches were under way at most.
        self.most_under_way = 0
        self._under_way: Dict[int, _Ticket] = {}

    def slot(self) -> Slot:
        return self._slots.lend()

    def submit(self, slot: Slot, count: int) -> Ticket:
        own = self._slots.checked(slot, count)
        self.seen.append(own.pixels[:count].copy())
        ticket = _Ticket(self, own, count, self._questions)
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
    def __init__(self, engine: PatientEngine, slot: HostSlot, count: int, questions: int) -> None:
        self._engine, self._slot, self._count = engine, slot, count
        self._left = questions

    def done(self) -> bool:
        self._left -= 1
        return self._left < 0

    def result(self) -> Candidates:
        return self._engine.take_back(self, self._slot, self._count)
