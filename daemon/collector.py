"""Fills the calibration set from the frames that were detected on, now and then one of each camera.

    analysis ── consider ──▶ Queue(4) ── run ──▶ CalibrationSet

Encoding and the disk have a thread of their own, and nothing that happens to them touches the service: a set that can't
be written is tried again, a queue that is full costs a frame.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional

from sightd.calibration_set import CalibrationSet
from sightd.errors import CalibrationError
from sightd.types import Detections, Frame

from .batches import Inferred
from .messages import CalibrationStats
from .plan import Collection, Plan

__all__ = ["Collector"]

_log = logging.getLogger(__name__)

#: Frames that wait for the disk; each is a whole picture in memory.
_WAITING = 4
#: A camera whose frame found the queue full is considered again after so long, in seconds.
_SOON_S = 1.0
#: Without frames: how often the thread looks at the plan, at the age of what is kept, and whether it should end.
_TICK_S = 0.5
#: A set that can't be written is tried again after so long, in seconds.
_RETRY_S = 30.0


class Collector:
    """Keeps frames for the next conversion, as the plan's collection says.

    :param plan: gives the plan that holds now; a reload may replace it at any time.
    """

    def __init__(self, plan: Callable[[], Plan]) -> None:
        self._plan = plan
        self._waiting: queue.Queue[_Sighting] = queue.Queue(_WAITING)
        #: Monotonic seconds, by camera; the analysis thread's.
        self._due_at: Dict[str, float] = {}
        #: Monotonic seconds, by camera; the main thread's.
        self._not_before: Dict[str, float] = {}
        self._skipped = 0
        #: The collector thread's.
        self._set: Optional[CalibrationSet] = None
        self._opened_for: Optional[Collection] = None
        self._retry_at = 0.0
        self._complaint = ""
        self._state, self._frames = "off", 0
        self._verdicts: Counter[str] = Counter()

    def consider(self, inferred: Inferred, found: List[Detections]) -> None:
        """Hand over those frames of the batch whose cameras are due (analysis thread); never blocks."""
        plan = self._plan()
        if plan.collection is None or self._state != "on":
            return
        for frame, detections in zip(inferred.batch.frames, found):
            rule = plan.rules.get(frame.camera)
            due = frame.captured_mono >= self._due_at.get(frame.camera, 0.0)
            if rule is None or not due or self._is_passed_over(frame):
                continue
            wait_s = plan.collection.interval_s
            try:
                self._waiting.put_nowait(_Sighting(frame, len(rule.applied(detections))))
            except queue.Full:
                self._skipped += 1
                wait_s = min(wait_s, _SOON_S)
            self._due_at[frame.camera] = frame.captured_mono + wait_s

    def pass_over(self, cameras: Iterable[str]) -> None:
        """Keep no frame of *cameras* older than a moment from now: new masks are not meant for it (main thread)."""
        self._not_before.update(dict.fromkeys(cameras, time.monotonic() + _SOON_S))

    def run(self, stop: threading.Event) -> None:
        """Add what was handed over to the set until *stop* (collector thread)."""
        try:
            while not stop.is_set():
                try:
                    self._step()
                except CalibrationError as error:
                    self._give_way(error)
        finally:
            self._state = "off"
            self._close()

    def fail(self) -> None:
        """The thread has ended by a fault, which is in the log; the service goes on."""
        self._state = "failed"

    def stats(self) -> CalibrationStats:
        """How it stands (any thread)."""
        refused = dict(self._verdicts)
        kept = refused.pop("kept", 0)
        return CalibrationStats(self._state, self._frames, kept, refused, self._skipped)

    def _step(self) -> None:
        self._follow_plan()
        if self._set is not None:
            self._set.expire()
            self._frames = len(self._set)
        try:
            sighting = self._waiting.get(timeout=_TICK_S)
        except queue.Empty:
            return
        # Read again: it is now that the picture is stored, and masks are as strict as they have become.
        rule = self._plan().rules.get(sighting.frame.camera)
        if self._set is None or rule is None or self._is_passed_over(sighting.frame):
            return
        verdict = self._set.offer(sighting.frame, rule.masks, sighting.objects)
        self._verdicts[verdict] += 1
        self._frames = len(self._set)
        if verdict == "kept" and self._complaint:
            self._complaint = ""
            _log.info("calibration frames are kept again")

    def _is_passed_over(self, frame: Frame) -> bool:
        return frame.captured_mono < self._not_before.get(frame.camera, 0.0)

    def _follow_plan(self) -> None:
        """Have that set open which the plan asks for."""
        wanted = self._plan().collection
        if wanted != self._opened_for:
            self._close()
            self._opened_for, self._retry_at, self._state = wanted, 0.0, "off"
        if wanted is None or self._set is not None or time.monotonic() < self._retry_at:
            return
        self._set = CalibrationSet(wanted.folder, wanted.max_frames, wanted.max_bytes, wanted.max_age_s)
        self._state = "on"

    def _give_way(self, error: CalibrationError) -> None:
        """Close the set for a while; say why once, until a frame is kept again."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            _log.warning("no calibration frames are kept for now: %s", error)
        self._close()
        self._state, self._retry_at = "blocked", time.monotonic() + _RETRY_S

    def _close(self) -> None:
        self._frames = 0
        if self._set is not None:
            closing, self._set = self._set, None
            with contextlib.suppress(CalibrationError):  # what could not be handed over is still a good set
                closing.close()


@dataclass(frozen=True)
class _Sighting:
    frame: Frame
    #: How many the camera reported in it.
    objects: int
