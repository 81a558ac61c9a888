"""One camera's objects as events: something new, a change of it, its end.

Each object that has had a `new` gets an `end`: when it was not seen for a while, when its camera is silent, removed,
disabled or given another model, and when the service stops.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.types import Attribute, Detections, Frame

from .messages import TrackedObject
from .rules import EventRule, Rule
from .tracking import Tracker, stationary

__all__ = ["Events", "Tell"]

#: Sends an event: its type, the object as it was told before, and as it is now. Analysis thread.
Tell = Callable[[str, TrackedObject, TrackedObject], None]

#: Seen so often at least, an object is no flicker of the detector.
_LEAST_HITS = 3
#: A better score is told when it is so much better.
_BETTER = np.float32(0.1)


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

    def look(self, frame: Frame, found: Detections, rule: Rule) -> NDArray[np.int64]:
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
        if rule.events.enabled and len(self._tracker.tracks):
            self._announce(now, rule.events)
            self._renew(now, rule.events)
        elif self._told:
            self.close()  # were they enabled again, an object that is still there would be another
        return ids

    def expire(self, before: float) -> None:
        """End what was last seen before then (monotonic seconds)."""
        lost = self._tracker.forget(before)
        if len(lost):
            self._end(lost)
            for identity in lost["id"].tolist():
                self._words.pop(identity, None)
                self._reworded.discard(identity)

    def close(self) -> None:
        """End everything."""
        self.expire(np.inf)

    def _announce(self, now: float, rule: EventRule) -> None:
        tracks = self._tracker.tracks
        new = (tracks["told_at"] == 0.0) & (tracks["hits"] >= _LEAST_HITS)
        if not new.any():
            return  # as mostly
        new &= (tracks["seen_at"] == now) & (now - tracks["first_at"] >= rule.min_duration_s)
        for row in np.flatnonzero(new):
            self._say("new", tracks[row : row + 1], now)

    def _renew(self, now: float, rule: EventRule) -> None:
        tracks = self._tracker.tracks
        due = (tracks["told_at"] > 0.0) & (now - tracks["told_at"] >= rule.update_interval_s)
        if not due.any():
            return  # as mostly
        changed = stationary(tracks) != tracks["told_stationary"]
        changed |= tracks["top_score"] >= tracks["told_top_score"] + _BETTER
        if self._reworded:
            changed |= np.isin(tracks["id"], list(self._reworded))
        for row in np.flatnonzero(due & changed):
            self._say("update", tracks[row : row + 1], now)

    def _end(self, tracks: NDArray[Any]) -> None:
        for row in np.flatnonzero(tracks["told_at"] > 0.0):
            self._say("end", tracks[row : row + 1], 0.0)

    def _say(self, kind: str, track: NDArray[Any], now: float) -> None:
        """Tell of one object; *track* is its row of the table, not a copy."""
        identity = int(track["id"][0])
        told = self._told.pop(identity, None)
        after = self._object(track, told, is_over=kind == "end")
        track["told_at"] = now
        track["told_top_score"], track["told_stationary"] = track["top_score"], stationary(track)
        self._reworded.discard(identity)
        if kind != "end":
            self._told[identity] = after
        self._tell(kind, told or after, after)

    def _object(self, track: NDArray[Any], told: Optional[TrackedObject], *, is_over: bool) -> TrackedObject:
        row = track[0]
        identity, box = int(row["id"]), row["box"].round().astype(int).tolist()
        seen = round(float(row["seen_at"]) + self._epoch, 3)
        began = round(float(row["first_at"]) + self._epoch, 3) if told is None else told.start_time
        width, height = max(1, box[2] - box[0]), max(1, box[3] - box[1])
        return TrackedObject(
            id=f"{began:.3f}-{self._boot_id}-{identity}" if told is None else told.id,
            track_id=identity,
            camera=self._camera,
            frame_time=seen,
            label=self._labels[row["class_id"]],
            score=round(float(row["score"]), 3),
            top_score=round(float(row["top_score"]), 3),
            start_time=began,
            end_time=seen if is_over else None,
            box=box,
            area=width * height,
            ratio=round(width / height, 2),
            stationary=bool(stationary(track)[0]),
            motionless_count=int(row["motionless_count"]),
            position_changes=int(row["position_changes"]),
            attributes=dict(self._words.get(identity, {})),
        )

    def _hear(self, ids: NDArray[np.int64], attributes: Sequence[Mapping[str, Attribute]]) -> None:
        """Keep the best word of each classifier on each track."""
        for identity, said in zip(ids.tolist(), attributes):
            for name, word in said.items():
                own = self._words.setdefault(identity, {})
                best = own.get(name)
                if best is None or word.score > best.score:
                    own[name] = word
                    if best is None or best.label != word.label:
                        self._reworded.add(identity)
