"""The two loops of the daemon: frames become batches of candidates, candidates become messages.

    FrameSlots ── infer ──▶ HandOver(2) ── analyse ──▶ sink

:func:`infer` runs on the inference thread, which alone touches the engines; :func:`analyse` on the analysis
thread. Both are plain functions over plain objects, so a test can run them without threads.
"""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import Callable, Iterable, Iterator, List, Mapping, Sequence

from sightd.types import Detections, Frame

from .batches import Inferred
from .hand_over import HandOver
from .lanes import Lane
from .plan import Plan
from .progress import Progress
from .slots import FrameSlots

__all__ = ["Sink", "analyse", "infer", "next_batch"]

#: With nothing to do: how long the inference thread sleeps before it looks whether it should stop, in seconds.
_IDLE_S = 0.25
#: With batches under way and no frame waiting: how often it looks which of them comes first, in seconds.
_TICK_S = 0.001

#: How often the analysis thread looks after what no frame comes for, in seconds.
_ROUND_S = 1.0

#: Receives each batch and the detections of its frames, in order, on the analysis thread.
Sink = Callable[[Inferred, List[Detections]], None]


def infer(
    slots: FrameSlots,
    lanes: Sequence[Lane],
    plan: Callable[[], Plan],
    results: HandOver,
    stopped: Callable[[], bool],
) -> None:
    """Batch frames of all cameras into the engines of their models until *stopped*, then finish what is under way.

    A model's next batch is submitted before its last one is collected, so no engine idles while frames wait for
    it; when none come, what is done is collected at once, so a quiet site pays nothing. Several models take turns
    by :func:`next_batch`, and one that is slow holds nobody else up.

    :param lanes: one a model.
    :param plan: gives the plan that holds now.
    :param results: bounded; put blocks. A slow analysis slows inference down, and frames are then
        dropped where it costs least, in the cameras' slots.
    """
    lane_of = {lane.bundle: lane for lane in lanes}
    while any(lane.under_way for lane in lanes) or not stopped():
        now = plan()
        frames = _frames_to_launch(slots, lanes, now, stopped)
        if frames:
            lane_of[now.bundle_of(frames[0].camera)].launch(frames)
        for lane in _lanes_to_advance(lanes, now, wait=not frames):
            for inferred in lane.advance(now):
                results.put(inferred)


def analyse(
    results: HandOver,
    plan: Callable[[], Plan],
    sink: Sink,
    progress: Progress,
    on_round: Callable[[], None] = lambda: None,
) -> None:
    """Hand each batch's detections to *sink* until None comes out of *results*: the thread that infers has ended.

    :param plan: gives the plan that holds now; a reload may replace it between two batches.
    :param on_round: called every second or so, whether batches come or not.
    """
    round_at = time.monotonic()
    while True:
        if time.monotonic() >= round_at:
            round_at = time.monotonic() + _ROUND_S
            on_round()
        try:
            inferred = results.get(timeout=_ROUND_S)
        except queue.Empty:
            continue
        if inferred is None:
            return
        progress.step(holding=True)
        found = inferred.found
        if found is None:
            found = plan().models[inferred.bundle].applied(inferred.candidates, inferred.batch.placements)
        sink(inferred, found)
        progress.step(holding=False)


def next_batch(bundle_of: Callable[[str], str], room: Mapping[str, int], line: Iterable[str]) -> List[str]:
    """Which cameras of *line*, the longest waiting first, are served together next; [] while no model has room.

    The first in line whose model has room determines the model, and those behind who share it come along. So
    under overload every camera is served in turn, whatever its model, and a model with many cameras or a slow
    engine, which has no room for long, is passed by instead of waited for.

    :param room: by bundle, how many frames its engine takes now.
    """
    batch: List[str] = []
    model = None
    for camera in line:
        own = bundle_of(camera)
        if model is None and room[own]:
            model = own
        if own == model and len(batch) < room[own]:
            batch.append(camera)
    return batch


def _frames_to_launch(slots: FrameSlots, lanes: Sequence[Lane], now: Plan, stopped: Callable[[], bool]) -> List[Frame]:
    """The next batch's frames; [] when a batch under way is to be advanced first or the time to stop has come."""
    choose = partial(next_batch, now.bundle_of, {lane.bundle: lane.room for lane in lanes})
    if not any(lane.under_way for lane in lanes):
        return slots.take(choose, _IDLE_S)
    while not _is_all_to_wait_for(lanes) and not stopped():
        frames = slots.take(choose, _TICK_S)
        if frames or any(lane.ready(now) for lane in lanes):
            return frames
    return []


def _is_all_to_wait_for(lanes: Sequence[Lane]) -> bool:
    """Whether nothing else can happen than that one batch is done: then its result is waited for, without ticks."""
    return not any(lane.room for lane in lanes) and sum(lane.awaited for lane in lanes) == 1


def _lanes_to_advance(lanes: Sequence[Lane], now: Plan, *, wait: bool) -> Iterator[Lane]:
    """Those that get on at once.

    Each is looked at after the one before was advanced: the room that this one gives back in a classifier is taken by
    the next, so that models which share it take turns.

    :param wait: where there is none, the first that has a batch to wait for, which then does.
    """
    for lane in lanes:
        if lane.ready(now):
            wait = False
            yield lane
    if wait:
        yield from [lane for lane in lanes if lane.waits(now)][:1]
