"""One camera: its frames go to its slot, its state to the counters and the status topic."""

from __future__ import annotations

import logging
import threading

from sightd.settings import CameraSettings
from sightd.sources import frames, source_for

from .counters import Counters
from .messages import CAMERA_OFFLINE
from .outbox import Message, Outbox
from .slots import FrameSlots
from .topics import Topics

__all__ = ["Camera"]

_log = logging.getLogger(__name__)


class Camera:
    """Retries for ever; :meth:`run` returns only when *stop* is set or a file that does not loop has ended."""

    def __init__(
        self,
        name: str,
        settings: CameraSettings,
        slots: FrameSlots,
        outbox: Outbox,
        topics: Topics,
        counters: Counters,
    ) -> None:
        self.name = name
        self._settings = settings
        self._slots, self._outbox, self._counters = slots, outbox, counters
        self._status_topic = topics.status(name)

    def run(self, stop: threading.Event) -> None:
        """Read the camera on its own thread."""
        settings = self._settings
        source = source_for(settings.url.get_secret_value(), pace=settings.pace, loop=settings.loop)
        for frame in frames(self.name, source, max_fps=settings.max_fps, stop=stop, on_state=self.say):
            self._slots.put(frame, wait=not source.live)
            self._counters.received[self.name] += 1
        if not stop.is_set():
            self.say(CAMERA_OFFLINE.decode(), "its file has ended")

    def say(self, state: str, reason: str = "") -> None:
        """Publish *state* (a word of the status topic); *reason*, free of secrets, goes to the log."""
        _log.info("camera %s is %s%s", self.name, state, f": {reason}" if reason else "")
        self._counters.states[self.name] = state
        self._outbox.put(Message(self._status_topic, state.encode(), retain=True))
