"""The slots of an engine: lent one at a time, checked when they come back."""

from __future__ import annotations

from typing import Generic, List, Sequence, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..resize import resize_into
from ..types import Image, InputSpec, Placement
from .base import Slot

__all__ = ["HostSlot", "SlotPool"]

S = TypeVar("S", bound=Slot)


class HostSlot(Slot):
    """An input buffer in ordinary memory, written by :func:`sightd.resize.resize_into`."""

    def __init__(self, spec: InputSpec, capacity: int) -> None:
        self.capacity = capacity
        #: [capacity, height, width, 3] uint8 BGR, allocated once.
        self.pixels: NDArray[np.uint8] = np.zeros((capacity, spec.height, spec.width, 3), np.uint8)
        self._spec = spec

    def put(self, index: int, image: Image) -> Placement:
        return resize_into(self.pixels[index], image, self._spec)


class SlotPool(Generic[S]):
    """Which slots are free. Used on the inference thread only, so without a lock."""

    def __init__(self, slots: Sequence[S]) -> None:
        self._free: List[S] = list(slots)
        self._lent: List[S] = []

    def lend(self) -> S:
        """A free slot.

        :raises EngineError: all are under way.
        """
        if not self._free:
            raise EngineError(f"all {len(self._lent)} slots are under way; collect a ticket first")
        slot = self._free.pop(0)
        self._lent.append(slot)
        return slot

    def checked(self, slot: Slot, count: int) -> S:
        """*slot* as the engine's own.

        :raises EngineError: this pool did not lend it, or *count* pictures do not fit.
        """
        for own in self._lent:
            if own is slot:
                if not 1 <= count <= own.capacity:
                    raise EngineError(f"a batch of {count}, the engine takes 1 to {own.capacity}")
                return own
        raise EngineError("this slot was not lent by this engine")

    def take_back(self, slot: S) -> None:
        """Make a lent slot free again."""
        self._lent.remove(slot)
        self._free.append(slot)
