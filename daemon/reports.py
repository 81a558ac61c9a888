"""Detections become messages: each camera's own threshold and labels, then its topic."""

from __future__ import annotations

import time
from typing import Callable, List, Mapping, Sequence

from sightd.types import Detections

from .batches import Inferred
from .counters import Counters
from .messages import encode_detections
from .outbox import Message, Outbox
from .plan import Plan
from .topics import Topics

__all__ = ["Reporter"]


class Reporter:
    """The pipeline's sink (analysis thread): one detections message a frame into the outbox.

    :param plan: gives the plan that holds now; frames of cameras that are no longer in it, or that another model looks
        at by now, are not reported.
    :param labels: of every detector, by its bundle's folder.
    """

    def __init__(
        self,
        plan: Callable[[], Plan],
        labels: Mapping[str, Sequence[str]],
        topics: Topics,
        outbox: Outbox,
        counters: Counters,
        boot_id: str,
    ) -> None:
        self._plan, self._labels, self._boot_id = plan, labels, boot_id
        self._topics, self._outbox, self._counters = topics, outbox, counters

    def __call__(self, inferred: Inferred, found: List[Detections]) -> None:
        rules, labels = self._plan().rules, self._labels[inferred.bundle]
        for frame, detections in zip(inferred.batch.frames, found):
            rule = rules.get(frame.camera)
            if rule is None or rule.bundle != inferred.bundle:
                continue
            payload = encode_detections(
                frame,
                rule.applied(detections),
                labels,
                inferred.times(frame),
                boot_id=self._boot_id,
                # By the clock that nothing sets: the wall clock may have been set since the frame was captured.
                published_at=frame.captured_at + time.monotonic() - frame.captured_mono,
            )
            self._outbox.put(Message(self._topics.detections(frame.camera), payload))
            self._counters.inferred[frame.camera] += 1
            self._counters.frames[inferred.bundle] += 1
        self._counters.batches[inferred.bundle] += 1
        self._counters.infer_s[inferred.bundle] += inferred.inferred_at - inferred.submitted_at
