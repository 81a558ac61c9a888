"""An engine that sleeps instead of computing: it stands for a GPU in benches and in the pipeline's tests.

Like a busy GPU it works off one batch after another on its own, taking so long for each picture, and leaves
the host's cores alone meanwhile. It resizes for real, so the host's work is the whole of it.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..types import Candidates, InputSpec
from .base import Engine, Slot, Ticket
from .slot_pool import HostSlot, SlotPool

__all__ = ["StubEngine"]


class StubEngine(Engine):
    """Finds *objects* boxes in each picture, after *picture_s* seconds for each."""

    depth = 2

    def __init__(self, spec: InputSpec, *, picture_s: float, max_batch: int = 4, objects: int = 10) -> None:
        self.max_batch = max_batch
        self._picture_s, self._objects = picture_s, objects
        self._slots = SlotPool([HostSlot(spec, max_batch) for _ in range(self.depth)])
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="stub-engine")
        self._free_at = 0.0  # monotonic seconds when the last submitted batch is done

    def slot(self) -> Slot:
        return self._slots.lend()

    def submit(self, slot: Slot, count: int) -> Ticket:
        own = self._slots.checked(slot, count)
        self._free_at = max(self._free_at, time.monotonic()) + self._picture_s * count
        return _StubTicket(self._slots, own, self._worker.submit(self._compute, self._free_at, count))

    def close(self) -> None:
        self._worker.shutdown(wait=True)

    def _compute(self, done_at: float, count: int) -> Candidates:
        time.sleep(max(0.0, done_at - time.monotonic()))
        corner = np.arange(self._objects, dtype=np.float32)[:, None] * 12
        boxes = np.concatenate([corner, corner, corner + 10, corner + 10], axis=1)
        scores = np.linspace(0.9, 0.5, self._objects, dtype=np.float32)
        classes = np.zeros(self._objects, np.int32)
        return Candidates(boxes[None].repeat(count, 0), scores[None].repeat(count, 0), classes[None].repeat(count, 0))


class _StubTicket(Ticket):
    def __init__(self, slots: SlotPool[HostSlot], slot: HostSlot, future: Future[Candidates]) -> None:
        self._slots, self._slot, self._future = slots, slot, future

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Candidates:
        try:
            return self._future.result()
        finally:
            self._slots.take_back(self._slot)
