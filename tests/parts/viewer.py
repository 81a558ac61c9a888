"""Somebody who watches a camera on a thread of their own, as the daemon does, and notes what they see."""

from __future__ import annotations

import threading
import time
from typing import List, Tuple

from sightd.sources import Source, frames
from tests.parts.rtsp import age_s

__all__ = ["Viewer"]


class Viewer(threading.Thread):
    """Reads *source*, which shows a ``clock`` mount, until the end of the with statement."""

    def __init__(self, source: Source) -> None:
        super().__init__(name="viewer")
        self._source = source
        self._changed = threading.Condition()
        self._stop_event = threading.Event()
        self.states: List[Tuple[str, str]] = []
        self.ages_s: List[float] = []
        self.seqs: List[int] = []

    def run(self) -> None:
        for frame in frames("yard", self._source, max_fps=0, stop=self._stop_event, on_state=self._on_state):
            self.ages_s.append(age_s(frame.image))
            self.seqs.append(frame.seq)

    def _on_state(self, state: str, reason: str) -> None:
        with self._changed:
            self.states.append((state, reason))
            self._changed.notify_all()

    def wait_for(self, state: str, timeout_s: float) -> float:
        """Wait until the camera is *state* and return how long that took."""
        began = time.monotonic()
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.states) and self.states[-1][0] == state, timeout_s), (
                f"not {state} after {timeout_s} s: {self.states}"
            )
        return time.monotonic() - began

    def __enter__(self) -> Viewer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_event.set()
        self.join()
