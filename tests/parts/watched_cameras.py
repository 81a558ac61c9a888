"""Cameras as the service runs them, without a model or a broker: who said what when, and how old each picture was."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional

import pytest

from daemon.cameras import Cameras
from daemon.counters import Counters
from daemon.outbox import Message
from daemon.plan import CameraPlan
from daemon.slots import FrameSlots
from daemon.topics import Topics
from tests.parts.rtsp import age_s

__all__ = ["Seen", "WatchedCameras"]


@dataclass(frozen=True)
class Seen:
    """A picture that would be inferred."""

    camera: str
    #: Monotonic seconds.
    at: float
    #: By the clock that it shows.
    age_s: float


@dataclass(frozen=True)
class Said:
    camera: str
    at: float
    state: str
    reason: str


class WatchedCameras:
    """Runs *plans* for as long as it is entered; every camera shows a ``clock`` mount.

    It stands in for the outbox, whose messages it notes.
    """

    def __init__(self, plans: Dict[str, CameraPlan]) -> None:
        self._topics = Topics("sightd/box")
        self._plans: Dict[str, Optional[CameraPlan]] = dict(plans)
        self._of_topic = {self._topics.status(name): name for name in plans}
        self._slots, self._counters, self._may_start = FrameSlots(), Counters(), threading.Event()
        self._cameras = Cameras(self._slots, self, self._topics, self._counters, self._may_start, pytest.fail)  # type: ignore[arg-type]
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._seen: List[Seen] = []
        self._said: List[Said] = []
        self._thread = threading.Thread(target=self._infer)

    def __enter__(self) -> WatchedCameras:
        self._cameras.apply(self._plans)
        self._may_start.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._cameras.dismiss()
        self._slots.close()
        self._cameras.join(30)

    def put(self, message: Message) -> None:
        with self._changed:
            camera = self._of_topic[message.topic]
            reason = self._counters.reasons.get(camera, "")
            self._said.append(Said(camera, time.monotonic(), message.payload.decode(), reason))
            self._changed.notify_all()

    def seen(self, camera: str, since: float = 0.0) -> List[Seen]:
        with self._changed:
            return [one for one in self._seen if one.camera == camera and one.at >= since]

    def states(self, camera: str) -> List[str]:
        with self._changed:
            return [one.state for one in self._said if one.camera == camera]

    def reason(self, camera: str) -> str:
        return self._counters.reasons[camera]

    def wait_for(self, camera: str, state: str, deadline_s: float = 60.0) -> float:
        """Wait until that is what is said last; the monotonic time at which it was."""
        return self._wait(lambda: self._last(camera, state), deadline_s, f"{camera} is not {state}")

    def wait_for_picture(self, camera: str, since: float, deadline_s: float = 60.0) -> float:
        """Wait for one that is seen after *since*; the monotonic time at which it was."""
        return self._wait(lambda: self._first(camera, since), deadline_s, f"nothing is seen of {camera}")

    def rate(self, camera: str, began: float, ended: float) -> float:
        """Pictures a second between the two."""
        return sum(began <= one.at < ended for one in self.seen(camera)) / (ended - began)

    def _last(self, camera: str, state: str) -> Optional[float]:
        said = [one for one in self._said if one.camera == camera]
        return said[-1].at if said and said[-1].state == state else None

    def _first(self, camera: str, since: float) -> Optional[float]:
        return next((one.at for one in self._seen if one.camera == camera and one.at >= since), None)

    def _wait(self, when: Callable[[], Optional[float]], deadline_s: float, otherwise: str) -> float:
        with self._changed:
            assert self._changed.wait_for(lambda: when() is not None, deadline_s), f"{otherwise}: {self._said}"
            at = when()
        assert at is not None
        return at

    def _infer(self) -> None:
        while not self._over.is_set():
            self._cameras.watch()
            for frame in self._slots.take(lambda line: list(line)[:4], 0.1):
                seen = Seen(frame.camera, frame.captured_mono, age_s(frame.image))
                with self._changed:
                    self._seen.append(seen)
                    self._changed.notify_all()
