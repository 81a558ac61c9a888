"""The newest frame of each camera, waiting to be inferred: cameras put, the inference thread takes batches."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import Callable, Dict, Iterable, List

from sightd.types import Frame

__all__ = ["Choice", "FrameSlots"]

#: From the names of the cameras in line, the longest waiting first, those whose frames are to be taken together.
Choice = Callable[[Iterable[str]], List[str]]


class FrameSlots:
    """One slot a camera, taken in the order in which they filled.

    A newer frame replaces a waiting one and keeps its place in line, so under overload every camera is
    served in turn, with its freshest frame. A file that must lose nothing puts with ``wait=True``.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Frame] = OrderedDict()
        self._lock = threading.Lock()
        #: Each is told of what it waits for alone: that many cameras wake for one frame would cost more than it does.
        self._filled = threading.Condition(self._lock)
        self._emptied: Dict[str, threading.Condition] = {}
        self._closed = False
        #: Frames replaced before they were inferred, by camera.
        self.dropped: Counter[str] = Counter()

    def put(self, frame: Frame, *, wait: bool = False) -> None:
        """Offer *frame* (camera threads). With *wait* it blocks while this camera's slot is full."""
        with self._lock:
            if wait:
                emptied = self._emptied.setdefault(frame.camera, threading.Condition(self._lock))
                emptied.wait_for(lambda: self._closed or frame.camera not in self._waiting)
            if frame.camera in self._waiting:
                self.dropped[frame.camera] += 1
            self._waiting[frame.camera] = frame
            self._filled.notify()

    def take(self, choose: Choice, timeout_s: float) -> List[Frame]:
        """The frames of those cameras that *choose* picks from the line (inference thread).

        :param choose: is asked again whenever a frame comes, until it picks one or *timeout_s* is over.
        :return: [] where it picked none in time or the slots are closed.
        """
        chosen: List[str] = []

        def has_chosen() -> bool:
            chosen[:] = choose(self._waiting)
            return bool(chosen) or self._closed

        with self._lock:
            self._filled.wait_for(has_chosen, timeout_s)
            frames = [self._waiting.pop(camera) for camera in chosen]
            for camera in chosen:
                if camera in self._emptied:
                    self._emptied[camera].notify()
            return frames

    def close(self) -> None:
        """Wake everybody; from now on nobody blocks. What waits can still be taken."""
        with self._lock:
            self._closed = True
            for changed in (self._filled, *self._emptied.values()):
                changed.notify_all()
