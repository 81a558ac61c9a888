"""The cameras that run: each on its own thread, started, stopped and replaced when the settings change."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, List, Mapping, Optional

from sightd.sources import ProcessSource, WatchedSource, frames, source_for

from .counters import Counters
from .messages import CAMERA_DISABLED, CAMERA_FROZEN, CAMERA_OFFLINE, CAMERA_ONLINE
from .outbox import Message, Outbox
from .plan import CameraPlan
from .repeats import Repeats
from .slots import FrameSlots
from .threads import StageThread, join_all
from .topics import Topics

__all__ = ["Cameras"]

_log = logging.getLogger(__name__)


class Cameras:
    """All cameras of the service; main thread only.

    :param may_start: cameras are opened when it is set; until then their threads wait.
    :param on_failure: see :class:`StageThread`; a camera that can't be read is no failure, it retries for ever.
    """

    def __init__(
        self,
        slots: FrameSlots,
        outbox: Outbox,
        topics: Topics,
        counters: Counters,
        may_start: threading.Event,
        on_failure: Callable[[str], None],
    ) -> None:
        self._slots, self._outbox, self._topics, self._counters = slots, outbox, topics, counters
        self._may_start, self._on_failure = may_start, on_failure
        self._members: Dict[str, _Member] = {}
        #: Threads of cameras that were dismissed; one that is just being opened needs some seconds to notice.
        self._leaving: List[StageThread] = []

    def apply(self, plans: Mapping[str, Optional[CameraPlan]]) -> None:
        """Make what runs equal to *plans* (None: disabled); cameras whose plan is the same are not touched."""
        for name in [name for name in self._members if name not in plans]:
            self._remove(name)
        for name, plan in plans.items():
            if name not in self._members or self._members[name].plan != plan:
                self._replace(name, plan)

    def watch(self) -> None:
        """Say of cameras whose threads wait too long for a picture that they are frozen."""
        for member in self._members.values():
            member.camera.watch()

    def dismiss(self) -> None:
        """Ask all to end."""
        for member in self._members.values():
            member.camera.dismiss()
        self._may_start.set()

    def join(self, deadline_s: float) -> None:
        """Wait for their threads, *deadline_s* in all."""
        join_all([*self._leaving, *(member.thread for member in self._members.values())], deadline_s)

    def _remove(self, name: str) -> None:
        """Stop camera *name* and take its status back from the broker."""
        self._dismiss(name)
        del self._counters.states[name], self._counters.reasons[name]
        _log.info("camera %s is removed", name, extra={"camera": name})
        self._outbox.put(Message(self._topics.status(name), b"", retain=True))

    def _replace(self, name: str, plan: Optional[CameraPlan]) -> None:
        if name in self._members:
            self._dismiss(name)
        predecessor = next((thread for thread in reversed(self._leaving) if thread.name == _thread_name(name)), None)
        camera = _Camera(name, self._slots, self._outbox, self._topics.status(name), self._counters)
        if plan is None:
            camera.say(CAMERA_DISABLED.decode())
        else:
            camera.say(CAMERA_OFFLINE.decode(), "about to be opened")
        work = partial(self._run, camera, plan, predecessor)
        self._members[name] = _Member(plan, camera, StageThread(_thread_name(name), work, self._on_failure))
        self._members[name].thread.start()

    def _run(self, camera: _Camera, plan: Optional[CameraPlan], predecessor: Optional[threading.Thread]) -> None:
        """One camera's thread."""
        if predecessor is not None:
            predecessor.join()  # many cameras serve few connections, and both count the same frames
        self._may_start.wait()
        if plan is not None:
            camera.run(plan)

    def _dismiss(self, name: str) -> None:
        member = self._members.pop(name)
        member.camera.dismiss()
        self._leaving = [thread for thread in [*self._leaving, member.thread] if thread.is_alive()]


class _Camera:
    """Reads one camera on the calling thread until it is dismissed, or a file that does not loop has ended."""

    def __init__(self, name: str, slots: FrameSlots, outbox: Outbox, status_topic: str, counters: Counters) -> None:
        self._name, self._slots, self._outbox, self._counters = name, slots, outbox, counters
        self._status_topic = status_topic
        self._dismissed = threading.Event()
        self._saying = threading.Lock()
        self._said = "", ""
        self._published = ""
        #: What :meth:`run` reads.
        self._source: Optional[WatchedSource] = None
        self._is_overdue = False
        self._repeats = Repeats()

    def run(self, plan: CameraPlan) -> None:
        """Its frames go to its slot, its state to the counters and the status topic."""
        make = partial(
            source_for,
            plan.address,
            pace=plan.pace,
            loop=plan.loop,
            picture_fps=plan.max_fps,
            decoder=plan.decoder,
            codec=plan.codec,
            rotate=plan.rotate,
        )
        in_process = plan.decoding == "process"
        self._source = WatchedSource(ProcessSource(self._name, make, ends=not plan.loop) if in_process else make())
        try:
            self._read(self._source, plan)
        finally:
            self._source.end()

    def _read(self, source: WatchedSource, plan: CameraPlan) -> None:
        for frame in frames(
            self._name,
            source,
            max_fps=plan.max_fps,
            stop=self._dismissed,
            on_state=self.say,
            first_seq=self._counters.received[self._name],
            frozen_after_s=plan.frozen_after_s,
        ):
            if self._dismissed.is_set():
                return
            self._slots.put(frame, wait=not source.live)
            self._counters.received[self._name] += 1
        self.say(CAMERA_OFFLINE.decode(), "its file has ended")

    def say(self, state: str, reason: str = "") -> None:
        """Publish *state* (a word of the status topic) unless dismissed; *reason*, free of secrets, goes to the log."""
        with self._saying:
            self._said = state, reason
            self._publish()

    def watch(self) -> None:
        """Say that it is frozen for as long as its picture is overdue (main thread)."""
        with self._saying:
            if self._source is not None and self._source.is_overdue() != self._is_overdue:
                self._is_overdue = not self._is_overdue
                self._publish()
            self._log(self._repeats.held(time.monotonic()))

    def _publish(self) -> None:
        """Say how it is; to be called by whom nobody else says anything meanwhile."""
        frozen = CAMERA_FROZEN.decode()
        state, reason = self._said
        if self._is_overdue and self._source is not None:
            state, reason = frozen, f"no picture for {self._source.patience_s():.1f} s"
        if self._dismissed.is_set():
            return
        self._counters.states[self._name] = state
        self._counters.reasons[self._name] = "" if state == CAMERA_ONLINE.decode() else reason
        if state == self._published == frozen:
            return  # when the wait is given up, for a reason that says as much
        self._published = state
        self._outbox.put(Message(self._status_topic, state.encode(), retain=True))
        text = f"camera {self._name} is {state}" + (f": {reason}" if reason else "")
        self._log(self._repeats.said(text, time.monotonic()))

    def _log(self, line: str) -> None:
        if line:
            _log.info("%s", line, extra={"camera": self._name})

    def dismiss(self) -> None:
        """End :meth:`run`; when this returns, nothing more is said (any thread)."""
        with self._saying:
            self._dismissed.set()


def _thread_name(camera: str) -> str:
    return f"camera-{camera}"


@dataclass(frozen=True)
class _Member:
    plan: Optional[CameraPlan]
    camera: _Camera
    thread: StageThread
