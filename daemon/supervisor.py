"""What the main thread looks after while the stages work: their progress, the memory, the wall clock."""

from __future__ import annotations

import faulthandler
import logging
import math
import time
from typing import Callable, List, Mapping

from sightd.wall_clock import WallClock

from .memory import MemoryGauge
from .messages import ClockStats, MemoryStats
from .notify import Notifier
from .plan import Plan
from .progress import Progress, held_up
from .shedding import Ladder, expendable, release_free_memory

__all__ = ["Supervisor"]

_log = logging.getLogger(__name__)

#: How long a stage may hold its work before it counts as hung, in seconds.
_PATIENCE_S = 10.0
#: How often progress is looked at, in seconds; where that took longer than the second, we stood still ourselves.
_PROGRESS_S, _STANDSTILL_S = 1.0, 5.0
#: Fed so often in the watchdog's time.
_FEEDINGS = 4
#: How often the memory is looked at, in seconds.
_MEMORY_S = 5.0


class Supervisor:
    """Main thread only, except where it says otherwise.

    The watchdog is fed by the progress of every stage. One that hangs ends the service, with the stack of every thread
    in the log; where the main thread itself hangs, the watchdog does that.

    :param progress: of each stage by its name.
    :param on_failure: is told the stages that hang, and "memory" when it is used up and nothing is left to give up.
    """

    def __init__(
        self,
        systemd: Notifier,
        progress: Mapping[str, Progress],
        gauge: MemoryGauge,
        on_failure: Callable[[str], None],
    ) -> None:
        self._systemd, self._progress, self._gauge, self._on_failure = systemd, progress, gauge, on_failure
        self._clock, self._ladder = WallClock(), Ladder()
        #: The main thread's own, whose work never ends: it is seen by others only.
        self._rounds = Progress()
        self._usage = gauge.read()
        self._given_up: List[str] = []
        self._looked_at = self._excused_until = self._fed_at = self._measured_at = -math.inf

    @property
    def level(self) -> int:
        """How much of the plan is given up for want of memory: see :func:`daemon.shedding.reduced`."""
        return self._ladder.level

    def look(self, asked: Plan) -> bool:
        """Look after everything that is due.

        :param asked: what runs where nothing is given up.
        :return: whether :attr:`level` has changed.
        """
        now = time.monotonic()
        self._rounds.step(holding=True)
        self._look_at_the_clock()
        if now >= self._looked_at + _PROGRESS_S:
            self._look_at_the_progress(now)
            self._looked_at = now
        if now < self._measured_at + _MEMORY_S:
            return False
        self._measured_at = now
        return self._look_at_the_memory(asked, now)

    def stuck(self) -> List[str]:
        """The stages that hang, the main thread itself among them (any thread)."""
        if time.monotonic() < self._excused_until:
            return []
        return held_up({**self._progress, "main": self._rounds}, _PATIENCE_S)

    def memory(self) -> MemoryStats:
        """For the stats."""
        used_mb, limit_mb = (round(size / (1 << 20), 1) for size in (self._usage.used, self._usage.limit))
        return MemoryStats(used_mb, limit_mb, self._given_up)

    def clock(self) -> ClockStats:
        """For the stats."""
        return ClockStats(self._clock.jumps, round(self._clock.last_jump_s, 1))

    def _look_at_the_progress(self, now: float) -> None:
        if now > self._looked_at + _STANDSTILL_S:  # the machine, or SIGSTOP: no stage could get on meanwhile
            self._excused_until = now + _PATIENCE_S
        held = held_up(self._progress, _PATIENCE_S)
        if held and now >= self._excused_until:
            _log.error("no progress for %.0f s in: %s; ending, to be started anew", _PATIENCE_S, ", ".join(held))
            faulthandler.dump_traceback()
            self._on_failure(" and ".join(held))
        elif not held and now >= self._fed_at + self._systemd.watchdog_s / _FEEDINGS:
            self._fed_at = now
            self._systemd.feed()

    def _look_at_the_clock(self) -> None:
        jump_s = self._clock.look()
        if jump_s:
            way = "forward" if jump_s > 0 else "back"
            _log.warning("the clock was set %s by %.1f s; times in messages follow it", way, abs(jump_s))

    def _look_at_the_memory(self, asked: Plan, now: float) -> bool:
        self._usage = usage = self._gauge.read()
        candidates = expendable(asked)
        changed = self._ladder.step(usage, len(candidates), now)
        if changed:
            release_free_memory()
        told, self._given_up = self._given_up, candidates[: self.level]
        if told != self._given_up:
            how = f"{usage.used >> 20} of {usage.limit >> 20} MiB used"
            _log.warning("memory: %s; given up: %s", how, ", ".join(self._given_up) or "nothing any more")
        if self._ladder.is_exhausted(now):
            _log.error(
                "memory: %d of %d MiB used and nothing left to give up; ending, to be started anew. Where that "
                "repeats: fewer cameras, a smaller model, or a higher limit (MemoryHigh= of the unit, memory_limit_mb)",
                *(usage.used >> 20, usage.limit >> 20),
            )
            self._on_failure("memory")
        return changed
