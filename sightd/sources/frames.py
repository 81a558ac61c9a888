"""Frames of one camera for ever: reconnection, and thinning to the frame rate that is wanted."""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from typing import Callable, Iterator

from ..errors import SourceError, StalledError
from ..redact import redact
from ..types import Frame
from .base import Source
from .health import FROZEN_AFTER_S, Health

__all__ = ["frames"]

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 2.0
#: Only a connection that lasted so long is one after which the next attempt is made at once.
LASTING_S = 10.0
_ONLINE = "online", ""
#: A frame that is so little early is in time, else jitter would push it to the next place in the schedule.
JITTER_S = 0.01

_log = logging.getLogger(__name__)


def frames(
    name: str,
    source: Source,
    *,
    max_fps: float,
    stop: threading.Event,
    on_state: Callable[[str, str], None],
    first_seq: int = 0,
    frozen_after_s: float = FROZEN_AFTER_S,
) -> Iterator[Frame]:
    """The frames of camera *name* until *stop* is set, or a file that doesn't loop ends.

    Run it on the thread that owns *source*; the source is closed whenever the iterator isn't between two frames.

    :param max_fps: yield at most so many frames a second, evenly spaced; the others are decoded and dropped,
        and are no gaps in ``seq``. 0: all.
    :param on_state: called on this thread when the state changes, with it and the reason, without passwords: "online";
        "offline": there is no connection; "frozen": there is one, but no new picture; "corrupt" and "slow", see
        :class:`.health.Health`. Of a frozen camera nothing is yielded.
    :param first_seq: ``seq`` of the first frame.
    :param frozen_after_s: seconds of one identical picture after which a camera is frozen; 0: never.
    """
    seq = itertools.count(first_seq)
    report = _changes_only(on_state)
    health = Health(frozen_after_s)
    retry_s = FIRST_RETRY_S
    while not stop.is_set():
        began = time.monotonic()
        try:
            source.open()
            opened = time.monotonic()
            health.opened(opened)
            for frame in _pictures(name, source, _Schedule(max_fps), seq, stop, health):
                began = time.monotonic()
                if began > opened + LASTING_S:
                    retry_s = FIRST_RETRY_S
                state, reason = health.state(frame.image, frame.captured_mono) if source.is_camera else _ONLINE
                report(state, reason or f"{frame.image.shape[1]} x {frame.image.shape[0]} pixels")
                if state != "frozen":
                    yield frame
            return
        except SourceError as error:
            reason = redact(str(error))
            _log.debug("camera %s: %s", name, reason)
            report("frozen" if isinstance(error, StalledError) else "offline", reason)
        finally:
            source.close()
        # Jitter, so that the cameras behind one switch don't all come back at the same moment. The time that the
        # attempt took counts: a camera that hangs takes seconds to say nothing.
        wait_s = retry_s * random.uniform(1.0, 1.25)  # noqa: S311  (nothing secret)
        stop.wait(max(wait_s - (time.monotonic() - began), FIRST_RETRY_S))
        retry_s = min(2 * retry_s, LAST_RETRY_S)


def _pictures(
    name: str, source: Source, schedule: _Schedule, seq: Iterator[int], stop: threading.Event, health: Health
) -> Iterator[Frame]:
    """The frames of one connection."""
    while not stop.is_set():
        # The decoder's CPU time is the cost, without the wait for the network.
        began_cpu_s = source.cpu_s()
        source.expect(schedule.from_s)
        if not source.grab():
            return
        captured_at, captured_mono = time.time(), time.monotonic()
        if source.is_camera:
            health.grabbed(captured_mono, damaged=source.is_damaged())
        if not schedule.due(source.clock_s()):
            continue
        image = source.retrieve()
        yield Frame(name, next(seq), captured_at, captured_mono, source.cpu_s() - began_cpu_s, image)


class _Schedule:
    """Says which frames are due for an even *max_fps*, on a grid, so that 25 become 10 a second and not 8.3."""

    def __init__(self, max_fps: float) -> None:
        self._interval_s = 1 / max_fps if max_fps > 0 else 0.0
        self._tolerance_s = min(JITTER_S, self._interval_s / 10)
        self._due_s = -math.inf

    @property
    def from_s(self) -> float:
        """When the next frame is due; clocks begin at 0."""
        return max(0.0, self._due_s - self._tolerance_s)

    def due(self, now_s: float) -> bool:
        if now_s < self.from_s:
            return False
        # After a gap the grid begins anew, else a burst would fill it.
        in_step = now_s - self._due_s < 2 * self._interval_s
        self._due_s = (self._due_s if in_step else now_s) + self._interval_s
        return True


def _changes_only(on_state: Callable[[str, str], None]) -> Callable[[str, str], None]:
    last = None

    def report(state: str, reason: str) -> None:
        nonlocal last
        if state != last:
            last = state
            on_state(state, reason)

    return report
