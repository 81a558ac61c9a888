"""The two loops of the daemon: frames become batches of candidates, candidates become messages.

    FrameSlots ── infer ──▶ Queue(2) ── analyse ──▶ sink

:func:`infer` runs on the inference thread, which alone touches the engine; :func:`analyse` on the analysis
thread. Both are plain functions over plain objects, so a test can run them without threads.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import Callable, List, Optional

from sightd import nms
from sightd.engines import Engine, Ticket
from sightd.types import Batch, Candidates, Detections, Frame

from .plan import Plan
from .progress import Progress
from .slots import FrameSlots

__all__ = ["Inferred", "Sink", "StageTimes", "analyse", "infer"]

#: With nothing to do: how long the inference thread sleeps before it looks whether it should stop, in seconds.
_IDLE_S = 0.25
#: With a batch under way and no frame waiting: how often it looks which of the two comes first, in seconds.
_TICK_S = 0.001


@dataclass(frozen=True)
class StageTimes:
    """Where one frame's time went, in seconds."""

    decode_s: float
    #: In its camera's slot, until its batch was taken.
    wait_s: float
    #: Resizing its whole batch into the engine's input.
    resize_s: float
    #: From submission until the candidates were collected.
    infer_s: float
    #: From there until now: the queue between the threads, NMS.
    post_s: float


@dataclass(frozen=True)
class Inferred:
    """A batch that came back from the engine; the times are monotonic seconds."""

    batch: Batch
    candidates: Candidates
    taken_at: float
    submitted_at: float
    inferred_at: float

    def times(self, frame: Frame) -> StageTimes:
        """Where the time of *frame*, one of the batch, has gone until now."""
        return StageTimes(
            decode_s=frame.decode_s,
            wait_s=self.taken_at - frame.captured_mono,
            resize_s=self.submitted_at - self.taken_at,
            infer_s=self.inferred_at - self.submitted_at,
            post_s=time.monotonic() - self.inferred_at,
        )


#: Receives each batch and the detections of its frames, in order, on the analysis thread.
Sink = Callable[[Inferred, List[Detections]], None]


def infer(
    slots: FrameSlots,
    engine: Engine,
    results: queue.Queue[Optional[Inferred]],
    stopped: Callable[[], bool],
    progress: Progress,
) -> None:
    """Batch frames of all cameras into the engine until *stopped*, then finish what is under way.

    The next batch is submitted before the last one is collected, so the engine never idles while frames
    wait; when none come, the last one is collected as soon as it is done, so a quiet site pays nothing.

    :param results: bounded; put blocks. A slow analysis slows inference down, and frames are then
        dropped where it costs least, in the cameras' slots.
    """
    flying: Optional[_Flight] = None
    while flying is not None or not stopped():
        frames = _frames_to_launch(slots, engine.max_batch, flying, stopped)
        progress.step(holding=flying is not None or bool(frames))
        launched = _launch(engine, frames) if frames else None
        if flying is not None:
            results.put(flying.collect())
        flying = launched
        progress.step(holding=flying is not None)


def analyse(results: queue.Queue[Optional[Inferred]], plan: Callable[[], Plan], sink: Sink, progress: Progress) -> None:
    """Hand each batch's detections to *sink* until None comes out of *results*: the thread that infers has ended.

    :param plan: gives the plan that holds now; a reload may replace it between two batches.
    """
    while True:
        inferred = results.get()
        if inferred is None:
            return
        progress.step(holding=True)
        now = plan()
        found = nms.detections(
            inferred.candidates,
            inferred.batch.placements,
            min_score=now.min_score,
            iou=now.nms_iou,
            max_objects=now.max_objects,
        )
        sink(inferred, found)
        progress.step(holding=False)


@dataclass(frozen=True)
class _Flight:
    batch: Batch
    ticket: Ticket
    taken_at: float
    submitted_at: float

    def collect(self) -> Inferred:
        candidates = self.ticket.result()
        return Inferred(self.batch, candidates, self.taken_at, self.submitted_at, time.monotonic())


def _frames_to_launch(
    slots: FrameSlots, limit: int, flying: Optional[_Flight], stopped: Callable[[], bool]
) -> List[Frame]:
    """The next batch's frames; [] when the batch under way is to be collected first or the time to stop has come."""
    if flying is None:
        return slots.take(limit, _IDLE_S)
    while not stopped():
        frames = slots.take(limit, _TICK_S)
        if frames or flying.ticket.done():
            return frames
    return []


def _launch(engine: Engine, frames: List[Frame]) -> _Flight:
    taken_at = time.monotonic()
    slot = engine.slot()
    placements = [slot.put(index, frame.image) for index, frame in enumerate(frames)]
    submitted_at = time.monotonic()
    return _Flight(Batch(frames, placements), engine.submit(slot, len(frames)), taken_at, submitted_at)
