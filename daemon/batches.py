"""A batch that came back from its engine, and where its frames' time went."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import List, Optional

from sightd.types import Batch, Candidates, Detections, Frame

__all__ = ["Inferred", "StageTimes"]


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
    #: From there until now, classifiers aside: the queue between the threads, NMS.
    post_s: float
    #: From the candidates until the classifiers had answered; 0 where none was asked.
    classify_s: float = 0.0


@dataclass(frozen=True)
class Inferred:
    """A batch that came back from the engine; the times are monotonic seconds."""

    #: Folder of the bundle whose model it was.
    bundle: str
    batch: Batch
    candidates: Candidates
    taken_at: float
    submitted_at: float
    inferred_at: float
    #: The frames' detections with what classifiers say of them; None: NMS is still to be done.
    found: Optional[List[Detections]] = None
    classified_at: Optional[float] = None

    def times(self, frame: Frame) -> StageTimes:
        """Where the time of *frame*, one of the batch, has gone until now."""
        ready_at = self.inferred_at if self.classified_at is None else self.classified_at
        return StageTimes(
            decode_s=frame.decode_s,
            wait_s=self.taken_at - frame.captured_mono,
            resize_s=self.submitted_at - self.taken_at,
            infer_s=self.inferred_at - self.submitted_at,
            post_s=time.monotonic() - ready_at,
            classify_s=ready_at - self.inferred_at,
        )
