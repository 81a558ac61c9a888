"""How much chaos: the seed and the time that the environment gives, and what they mean for each scenario."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["CUT_S", "FULL_S", "Effort"]

#: The cut that CI runs, and what the promised numbers of faults take, in seconds.
CUT_S, FULL_S = 180, 900


@dataclass(frozen=True)
class Effort:
    """The same seed injects the same faults in the same order."""

    seed: int = 6
    seconds: int = CUT_S

    @classmethod
    def of_environment(cls) -> Effort:
        """``SIGHTD_CHAOS_SEED`` and ``SIGHTD_CHAOS_SECONDS``."""
        seed = os.environ.get("SIGHTD_CHAOS_SEED") or cls.seed
        seconds = os.environ.get("SIGHTD_CHAOS_SECONDS") or cls.seconds
        return cls(int(seed), int(seconds))

    @property
    def full(self) -> bool:
        """Whether there is time for everything, one after the other."""
        return self.seconds >= FULL_S

    def times(self, full: int, least: int = 1) -> int:
        """How often to inject a fault that is promised *full* times; *least* at least."""
        return max(least, min(full, round(full * self.seconds / FULL_S)))
