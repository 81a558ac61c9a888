"""Which pictures of a camera on the network are live: not those that came late, nor what piled up behind them."""

from __future__ import annotations

import time
from typing import Callable

from ..errors import StalledError
from .network import READ_TIMEOUT_S, STALE_S

__all__ = ["LivePictures"]

#: How long that may take after a picture that was late; opening the camera anew is faster.
_CATCHES_UP_S = 3.0
#: Less than this behind is live.
_CLOSE_S = 0.5
#: What comes at its usual rate for so long does not catch up, it is live: the camera stood still, or left some out.
_SETTLES_S, _GAINS_S = 0.6, 0.1
#: What TCP sends again comes after 0.2 s at the earliest.
_GAP_S = 0.15
#: Pictures that the usual interval is the average of, about.
_MEMORY = 50


class LivePictures:
    """Of one connection; for the thread that reads it.

    How far behind a picture is, is told by counting: each that comes after one that was late makes up for the usual
    interval. Time stamps are not looked at, as many cameras' are wrong.
    """

    def __init__(self) -> None:
        self._seen, self._came_s, self._interval_s = 0, 0.0, 0.0

    def advance(self, next_picture: Callable[[], float]) -> None:
        """Advance to the next picture that is live.

        :param next_picture: takes the next one, and says how many seconds it was waited for.
        :raises StalledError: none came within READ_TIMEOUT_S, or what comes stays behind.
        """
        waited_s = next_picture()
        if waited_s > STALE_S:
            self._catch_up(waited_s, next_picture)
        elif self._seen:
            passed_s = time.monotonic() - self._came_s
            self._interval_s += (passed_s - self._interval_s) / min(self._seen, _MEMORY)
        self._seen += 1
        self._came_s = time.monotonic()

    def _catch_up(self, waited_s: float, next_picture: Callable[[], float]) -> None:
        came_s = compared_s = time.monotonic()
        began_s, behind_s, least_s = came_s - waited_s, 0.0, 0.0
        while True:
            behind_s += waited_s - self._interval_s
            now_s = time.monotonic()
            if waited_s > STALE_S:
                came_s = now_s
                if now_s - began_s >= READ_TIMEOUT_S:
                    raise StalledError(f"stalled, no picture for {now_s - began_s:.1f} s")
            if waited_s > max(_GAP_S, 3 * self._interval_s) or behind_s < least_s - _GAINS_S:
                least_s, compared_s = behind_s, now_s
            if behind_s < _CLOSE_S or now_s - compared_s > _SETTLES_S:
                return
            if now_s - came_s > _CATCHES_UP_S:
                raise StalledError(f"stalled, {behind_s:.1f} s behind and slow to catch up")
            waited_s = next_picture()
