"""One camera's objects as events: something new, a change of it, its end.

Each object that has had a `new` gets an `end`: when it was not seen for a while, when its camera is silent, removed,
disabled or given another model, and when the service stops.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from sightd.types import Attribute, Detections, Frame

from .messages import TrackedObject
from .rules import EventRule, Rule
from .tracking import Track, Tracker

__all__ = ["Events", "Tell"]

#: Sends an event: its type, the object as it was told before, and as it is now. Analysis thread.
Tell = Callable[[str, TrackedObject, TrackedObject], None]

#: Seen so often at least, an object is no flicker of the detector.
_LEAST_HITS = 3
#: A better score is told when it is so much better.
_BETTER = 0.1


class Events:
    """Analysis thread only.

    :param bundle: folder of the model that looks at the camera; with another one, begin anew.
    :param labels: of that model, by class index.
    :param ids: of tracks, shared by all cameras.
    """

    def __init__(
        self, camera: str, bundle: str, labels: Sequence[str], ids: Iterator[int], boot_id: str, tell: Tell
    ) -> None:
        self.bundle = bundle
        self._camera, self._labels, self._boot_id, self._tell = camera, labels, boot_id, tell
        self._tracker = Tracker(ids)
        #: Of each object that has had its `new`: what was told last.
        self._told: Dict[int, TrackedObject] = {}
        #: By track, the best word of each classifier, and the tracks with a word that was not told.
        self._words: Dict[int, Dict[str, Attribute]] = {}
        self._reworded: Set[int] = set()
        self._shape: Tuple[int, ...] = ()
        #: Unix seconds at 0 of the monotonic clock, by the newest frame.
        self._epoch = 0.0

    def look(self, frame: Frame, found: Detections, rule: Rule) -> List[int]:
        """Follow the objects into the next *frame*, and tell what is to be told; the track of each of *found*.

        :param found: what of the frame may be tracked, see :meth:`Rule.tracked`.
        """
        if frame.image.shape != self._shape:
            self.close()  # the camera was turned, or sends another size: places mean something else
            self._shape = frame.image.shape
        now = frame.captured_mono
        self.expire(now - rule.events.lost_after_s)
        self._epoch = frame.captured_at - now
        ids = self._tracker.update(found, now, rule.min_score)
        if found.attributes:
            self._hear(ids, found.attributes)
        if rule.events.enabled:
            for track in self._tracker.tracks:
                kind = self._news(track, now, rule.events)
                if kind:
                    self._say(kind, track, now)
        elif self._told:
            self.close()  # were they enabled again, an object that is still there would be another
        return ids

    def expire(self, before: float) -> None:
        """End what was last seen before then (monotonic seconds)."""
        for track in self._tracker.forget(before):
            if track.told_at:
                self._say("end", track, 0.0)
            self._words.pop(track.id, None)
            self._reworded.discard(track.id)

    def close(self) -> None:
        """End everything."""
        self.expire(math.inf)

    def _news(self, track: Track, now: float, rule: EventRule) -> str:
        """The event that is due, if any: "new", "update" or ""."""
        if not track.told_at:
            lasts = track.hits >= _LEAST_HITS and now - track.first_at >= rule.min_duration_s
            return "new" if lasts and track.seen_at == now else ""
        if now - track.told_at < rule.update_interval_s:
            return ""
        is_better = track.top_score >= track.told_top_score + _BETTER
        is_changed = is_better or track.stationary != track.told_stationary or track.id in self._reworded
        return "update" if is_changed else ""

    def _say(self, kind: str, track: Track, now: float) -> None:
        """Tell of one object."""
        told = self._told.pop(track.id, None)
        after = self._object(track, told, is_over=kind == "end")
        track.told_at, track.told_top_score, track.told_stationary = now, track.top_score, track.stationary
        self._reworded.discard(track.id)
        if kind != "end":
            self._told[track.id] = after
        self._tell(kind, told or after, after)

    def _object(self, track: Track, told: Optional[TrackedObject], *, is_over: bool) -> TrackedObject:
        box = [round(side) for side in track.box]
        seen = round(track.seen_at + self._epoch, 3)
        began = round(track.first_at + self._epoch, 3) if told is None else told.start_time
        width, height = max(1, box[2] - box[0]), max(1, box[3] - box[1])
        return TrackedObject(
            id=f"{began:.3f}-{self._boot_id}-{track.id}" if told is None else told.id,
            track_id=track.id,
            camera=self._camera,
            frame_time=seen,
            label=self._labels[track.class_id],
            score=round(track.score, 3),
            top_score=round(track.top_score, 3),
            start_time=began,
            end_time=seen if is_over else None,
            box=box,
            area=width * height,
            ratio=round(width / height, 2),
            stationary=track.stationary,
            motionless_count=track.stillness.motionless_count,
            position_changes=track.stillness.position_changes,
            attributes=dict(self._words.get(track.id, {})),
        )

    def _hear(self, ids: Sequence[int], attributes: Sequence[Mapping[str, Attribute]]) -> None:
        """Keep the best word of each classifier on each track."""
        for identity, said in zip(ids, attributes):
            for name, word in said.items():
                own = self._words.setdefault(identity, {})
                best = own.get(name)
                if best is None or word.score > best.score:
                    own[name] = word
                    if best is None or best.label != word.label:
                        self._reworded.add(identity)
