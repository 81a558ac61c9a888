"""Detections become messages: each camera's own threshold, labels and tracks, then its topics."""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from sightd.bundle_check import check_classes
from sightd.types import Detections, Frame

from .batches import Inferred
from .counters import Counters
from .events import Events
from .messages import EventMessage, TrackedObject, encode, encode_detections
from .outbox import Message, Outbox
from .plan import Plan
from .presence import Presence
from .rules import Rule
from .topics import Topics

__all__ = ["Reporter"]

#: An event's type -> by how many more objects there are.
_CHANGE = {"new": 1, "update": 0, "end": -1}


class Reporter:
    """The pipeline's sink (analysis thread): a detections message a frame and the events of it, into the outbox.

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
        self._track_ids = itertools.count(1)
        #: By camera.
        self._events: Dict[str, Events] = {}
        self._presence = Presence(topics, outbox)
        self._followed: Optional[Plan] = None

    def __call__(self, inferred: Inferred, found: List[Detections]) -> None:
        rules = self._plan().rules
        for frame, detections in zip(inferred.batch.frames, found):
            rule = rules.get(frame.camera)
            if rule is not None and rule.bundle == inferred.bundle:
                self._report(frame, detections, rule, inferred)
        self._counters.batches[inferred.bundle] += 1
        self._counters.infer_s[inferred.bundle] += inferred.inferred_at - inferred.submitted_at

    def look_round(self) -> None:
        """End the events of cameras that are silent, gone, or looked at by another model; every second or so."""
        plan = self._plan()
        rules = plan.rules
        for camera, events in list(self._events.items()):
            rule = rules.get(camera)
            if rule is None or rule.bundle != events.bundle:
                self._events.pop(camera).close()
            else:
                events.expire(time.monotonic() - rule.events.lost_after_s)
        if plan is not self._followed:
            self._followed = plan
            told = {camera: rule for camera, rule in rules.items() if rule.events.enabled}
            self._presence.follow({camera: rule.reported(self._labels[rule.bundle]) for camera, rule in told.items()})

    def close(self) -> None:
        """End all events: nothing follows."""
        for events in self._events.values():
            events.close()

    def _report(self, frame: Frame, detections: Detections, rule: Rule, inferred: Inferred) -> None:
        check_classes(rule.bundle, detections.classes, self._labels[rule.bundle])
        candidates = rule.tracked(detections)
        track_ids = self._events_of(frame.camera, rule.bundle).look(frame, candidates, rule)
        reported = candidates.scores >= rule.min_score
        payload = encode_detections(
            frame,
            candidates.where(reported),
            list(itertools.compress(track_ids, reported.tolist())),
            self._labels[rule.bundle],
            inferred.times(frame),
            boot_id=self._boot_id,
            # By the clock that nothing sets: the wall clock may have been set since the frame was captured.
            published_at=frame.captured_at + time.monotonic() - frame.captured_mono,
        )
        self._outbox.put(Message(self._topics.detections(frame.camera), payload))
        self._counters.inferred[frame.camera] += 1
        self._counters.frames[rule.bundle] += 1

    def _events_of(self, camera: str, bundle: str) -> Events:
        events = self._events.get(camera)
        if events is None or events.bundle != bundle:
            if events is not None:
                events.close()
            tell = partial(self._tell, self._topics.events(camera))
            events = Events(camera, bundle, self._labels[bundle], self._track_ids, self._boot_id, tell)
            self._events[camera] = events
        return events

    def _tell(self, topic: str, kind: str, before: TrackedObject, after: TrackedObject) -> None:
        """Put an event; where room is short an update is the first to go."""
        self._presence.count(after.camera, after.label, _CHANGE[kind])
        seq = self._outbox.next_seq()
        payload = encode(EventMessage(kind, seq, self._boot_id, before, after))
        self._outbox.put(Message(topic, payload, seq=seq, priority=int(kind != "update")))
