"""How a camera is that is open: online, frozen, corrupt or slow, by the pictures that it sends."""

from __future__ import annotations

import zlib
from collections import deque
from typing import Deque, Optional, Tuple

import numpy as np

from ..types import Image
from .network import STALLED_S

__all__ = ["FROZEN_AFTER_S", "Health"]

#: Longer than the usual intervals between key frames, between which a still picture may really stay the same.
FROZEN_AFTER_S = 20.0
#: What counts as corrupt or slow is judged over so many seconds, at the earliest after as many.
WINDOW_S = 5.0
_JUDGES_EVERY_S = 0.5
#: Shares of damaged pictures from which on a camera is corrupt, and below which it is not any more.
CORRUPT, WHOLE = 0.1, 0.02
#: Shares of the usual rate below which a camera is slow, and above which it is not any more.
SLOW, FAST = 0.5, 0.75
#: A rate that stays low becomes the usual one, so that a camera may take longer exposures at night; the time constant.
FORGETS_IN_S = 600.0


class Health:
    """One camera's; one thread tells it what comes, with monotonic times.

    :param frozen_after_s: seconds of one identical picture after which it is frozen; 0: never.
    """

    def __init__(self, frozen_after_s: float = FROZEN_AFTER_S) -> None:
        self._frozen_after_s = frozen_after_s
        self._usual_fps = 0.0
        self.opened(0.0)

    def opened(self, now_s: float) -> None:
        """The camera is there, again perhaps; only the rate that is usual for it is still known."""
        self._standstill = _Standstill(self._frozen_after_s)
        self._began_s = self._judged_s = now_s
        #: Times of the pictures in the window, and whether they were damaged.
        self._pictures: Deque[Tuple[float, bool]] = deque()
        self._state, self._reason = "online", ""

    def grabbed(self, now_s: float, *, damaged: bool) -> None:
        """A picture came."""
        if self._pictures and now_s - self._pictures[-1][0] > STALLED_S:  # it was frozen: that is no rate
            self._pictures.clear()
            self._began_s = now_s
        self._pictures.append((now_s, damaged))
        while self._pictures[0][0] < now_s - WINDOW_S:
            self._pictures.popleft()
        if now_s >= max(self._began_s + WINDOW_S, self._judged_s + _JUDGES_EVERY_S):
            self._judge(now_s)

    def state(self, image: Image, now_s: float) -> Tuple[str, str]:
        """The word of the status topic and the reason, "" when online; *image* is what was grabbed last."""
        if self._standstill.lasts(image, now_s):
            return "frozen", f"the same picture for {self._standstill.after_s:.0f} s; it is not looked at"
        return self._state, self._reason

    def _judge(self, now_s: float) -> None:
        count = len(self._pictures)
        fps = count / WINDOW_S
        damaged = sum(is_damaged for _, is_damaged in self._pictures) / count
        forgotten = min(1.0, (now_s - self._judged_s) / FORGETS_IN_S)
        self._usual_fps = max(fps, self._usual_fps + forgotten * (fps - self._usual_fps))
        self._judged_s = now_s
        if damaged >= (WHOLE if self._state == "corrupt" else CORRUPT):
            self._state = "corrupt"
            self._reason = f"{100 * damaged:.0f} % of the pictures are damaged: the network, or the camera's encoder"
        elif fps < self._usual_fps * (FAST if self._state == "slow" else SLOW):
            self._state = "slow"
            self._reason = f"{fps:.1f} pictures a second, it used to send {self._usual_fps:.1f}"
        else:
            self._state, self._reason = "online", ""


class _Standstill:
    """Notices one identical picture that stays: real sensors have noise.

    Samples are compared at every picture; all of it, a clock in a corner included, when it is about to count.
    """

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._samples, self._since_s = b"", 0.0
        #: Of the picture that came when the samples were the same for the first time.
        self._checksum: Optional[int] = None
        self._lasts = False

    def lasts(self, image: Image, now_s: float) -> bool:
        """Whether *image* has been the same for so long."""
        samples = image[::37, ::41].tobytes()
        if samples != self._samples:
            self._samples, self._checksum, self._lasts = samples, None, False
        elif self._checksum is None:
            self._checksum, self._since_s = _checksum(image), now_s
        elif self.after_s and (self._lasts or now_s - self._since_s >= self.after_s):
            checksum = _checksum(image)
            self._lasts = checksum == self._checksum
            if not self._lasts:
                self._checksum, self._since_s = checksum, now_s
        return self._lasts


def _checksum(image: Image) -> int:
    return zlib.crc32(np.ascontiguousarray(image).data)
