"""Frames of one camera for ever: reconnection, and thinning to the frame rate that is wanted."""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from typing import Callable, Iterator

from ..errors import SourceError
from ..redact import redact
from ..types import Frame
from .base import Source

__all__ = ["frames"]

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 2.0
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
) -> Iterator[Frame]:
    """The frames of camera *name* until *stop* is set, or a file that doesn't loop ends.

    Run it on the thread that owns *source*; the source is closed whenever the iterator isn't between two frames.

    :param max_fps: yield at most so many frames a second, evenly spaced; the others are decoded and dropped,
        and are no gaps in ``seq``. 0: all.
    :param on_state: called on this thread when the state changes, with "online" and the picture's size, or
        "offline" and the reason, without passwords.
    :param first_seq: ``seq`` of the first frame.
    """
    seq = itertools.count(first_seq)
    report = _changes_only(on_state)
    retry_s = FIRST_RETRY_S
    while not stop.is_set():
        try:
            source.open()
            for frame in _pictures(name, source, _Schedule(max_fps), seq, stop):
                report("online", f"{frame.image.shape[1]} x {frame.image.shape[0]} pixels")
                retry_s = FIRST_RETRY_S
                yield frame
            return
        except SourceError as error:
            reason = redact(str(error))
            _log.debug("camera %s: %s", name, reason)
            report("offline", reason)
        finally:
            source.close()
        # Jitter, so that the cameras behind one switch don't all come back at the same moment.
        stop.wait(retry_s * random.uniform(1.0, 1.25))  # noqa: S311  (nothing secret)
        retry_s = min(2 * retry_s, LAST_RETRY_S)


def _pictures(
    name: str, source: Source, schedule: _Schedule, seq: Iterator[int], stop: threading.Event
) -> Iterator[Frame]:
    """The frames of one connection."""
    while not stop.is_set():
        # The decoder runs on this thread: its CPU time is the cost, without the wait for the network.
        began_cpu_s = time.thread_time()
        if not source.grab():
            return
        if not schedule.due(source.clock_s()):
            continue
        captured_at, captured_mono = time.time(), time.monotonic()
        image = source.retrieve()
        yield Frame(name, next(seq), captured_at, captured_mono, time.thread_time() - began_cpu_s, image)


class _Schedule:
    """Says which frames are due for an even *max_fps*, on a grid, so that 25 become 10 a second and not 8.3."""

    def __init__(self, max_fps: float) -> None:
        self._interval_s = 1 / max_fps if max_fps > 0 else 0.0
        self._due_s = -math.inf

    def due(self, now_s: float) -> bool:
        late_s = now_s - self._due_s
        if late_s < -min(JITTER_S, self._interval_s / 10):
            return False
        # After a gap the grid begins anew, else a burst would fill it.
        in_step = late_s < 2 * self._interval_s
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
