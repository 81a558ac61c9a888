"""The newest frame of each camera, waiting to be inferred: cameras put, the inference thread takes batches."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import List

from sightd.types import Frame

__all__ = ["FrameSlots"]


class FrameSlots:
    """One slot a camera, taken in the order in which they filled.

    A newer frame replaces a waiting one and keeps its place in line, so under overload every camera is
    served in turn, with its freshest frame. A file that must lose nothing puts with ``wait=True``.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Frame] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        #: Frames replaced before they were inferred, by camera.
        self.dropped: Counter[str] = Counter()

    def put(self, frame: Frame, *, wait: bool = False) -> None:
        """Offer *frame* (camera threads). With *wait* it blocks while this camera's slot is full."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or frame.camera not in self._waiting)
            if frame.camera in self._waiting:
                self.dropped[frame.camera] += 1
            self._waiting[frame.camera] = frame
            self._changed.notify_all()

    def take(self, limit: int, timeout_s: float) -> List[Frame]:
        """The up to *limit* frames that wait longest (inference thread); [] after *timeout_s* or once closed."""
        with self._changed:
            if timeout_s > 0:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting), timeout_s)
            if not self._waiting:
                return []
            frames = [self._waiting.popitem(last=False)[1] for _ in range(min(limit, len(self._waiting)))]
            self._changed.notify_all()
            return frames

    def close(self) -> None:
        """Wake everybody; from now on nobody blocks. What waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
