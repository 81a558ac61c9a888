"""Giving things up before the kernel kills everything: which, in what order, and when they come back.

First no more frames are kept for calibration, then one camera after the other is closed, the last in the settings
first; the first one stays. Where even that is not enough for a minute the service ends by itself, in good order, and is
started again: memory that leaks away is won back by nothing else.
"""

from __future__ import annotations

import ctypes
import gc
import math
from dataclasses import replace
from typing import List

from .memory import Usage
from .plan import Plan

__all__ = ["Ladder", "expendable", "reduced", "release_free_memory"]

#: Shares of the limit. From the first on something is given up; it comes back after a while below the second: one
#: camera more must not lead straight back above the first. At the third nothing is left but to start anew.
_HIGH, _LOW, _LAST = 0.9, 0.75, 0.97
#: How long memory takes to become free after something was given up, in seconds.
_SETTLE_S = 10.0
#: How long it must be calm before something comes back; twice as long each time that this was too early.
_CALM_S, _LONGEST_CALM_S = 60.0, 3600.0
#: With everything given up: how long it may stay at the limit.
_PATIENCE_S = 60.0


class Ladder:
    """How many things are given up, one step at a time. Times are monotonic seconds; main thread only."""

    def __init__(self) -> None:
        #: That many are given up now.
        self.level = 0
        self._calm_s = _CALM_S
        self._came_back = False
        self._wait_until = -math.inf
        self._low_since = self._last_since = math.inf

    def step(self, usage: Usage, rungs: int, now: float) -> bool:
        """Look at *usage* with *rungs* things to give up in all; whether the level has changed."""
        before = self.level
        self._low_since = min(self._low_since, now) if usage.share < _LOW else math.inf
        self._last_since = min(self._last_since, now) if usage.share >= _LAST and before >= rungs else math.inf
        if usage.share >= _HIGH and before < rungs and now >= self._wait_until:
            self._climb(now)
        elif before and now >= self._low_since + self._calm_s:
            self._descend(now)
        self.level = min(self.level, rungs)
        return self.level != before

    def is_exhausted(self, now: float) -> bool:
        """Whether memory has been at its limit for long with nothing more to give up."""
        return now >= self._last_since + _PATIENCE_S

    def _climb(self, now: float) -> None:
        self.level += 1
        self._wait_until = now + _SETTLE_S
        if self._came_back:
            self._came_back, self._calm_s = False, min(2 * self._calm_s, _LONGEST_CALM_S)

    def _descend(self, now: float) -> None:
        self.level -= 1
        self._low_since, self._came_back = now, True


def expendable(plan: Plan) -> List[str]:
    """What can be given up of *plan*, in this order, in words for people."""
    cameras = [name for name, camera in plan.cameras.items() if camera is not None]
    calibration = ["calibration"] if plan.collection is not None else []
    return [*calibration, *(f"camera {name}" for name in reversed(cameras[1:]))]


def reduced(plan: Plan, level: int) -> Plan:
    """*plan* without the first *level* of what is expendable in it."""
    given_up = set(expendable(plan)[:level])
    cameras = {name: None if f"camera {name}" in given_up else camera for name, camera in plan.cameras.items()}
    return replace(plan, cameras=cameras, collection=None if "calibration" in given_up else plan.collection)


def release_free_memory() -> None:
    """Hand back to the system what Python and the C library hold for later; some milliseconds."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)
