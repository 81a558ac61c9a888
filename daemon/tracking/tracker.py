"""One camera's tracker: gives the detections of each frame the ids of the objects that they are.

In two steps, as ByteTrack (Zhang et al., ECCV 2022): the detections that the camera reports are matched with the tracks
first; those that score too low to be reported may then go on with one that is left. They never begin one, and do not
prolong its life. So an object that is half hidden for a moment stays the same, and noise makes none.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Iterator, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightd.types import Detections

from . import motion, stillness
from .matching import best_pairs, overlaps

__all__ = ["TRACK", "Tracker"]

#: What is known of a track. Times are monotonic seconds, boxes x1, y1, x2, y2 in pixels of the picture.
TRACK = np.dtype(
    [
        ("id", np.int64),
        ("class_id", np.int32),
        #: How often it was seen with a score that the camera reports, when first, when last, and as what then.
        ("hits", np.int32),
        ("first_at", np.float64),
        ("seen_at", np.float64),
        ("box", np.float64, 4),
        ("score", np.float32),
        ("top_score", np.float32),
        *motion.MOTION,
        *stillness.STILLNESS,
        #: What an event said of it last, and when: 0 for never. The tracker only keeps it.
        ("told_at", np.float64),
        ("told_top_score", np.float32),
        ("told_stationary", np.bool_),
    ]
)

#: Tracks that are remembered beside those of the last frame, about.
_MOST = 500
#: A row as bytes: copying them at once is several times faster than NumPy's way, field by field.
_RAW = np.dtype((np.void, TRACK.itemsize))
#: Boxes are compared with their sides this much longer at either end, in shares of the side: what moves by its own
#: length from frame to frame would not overlap at all. (Buffered IoU: Yang et al., Hard to Track Objects with
#: Irregular Motions and Similar Appearances?, WACV 2023.)
_BUFFER = 0.3
#: Least overlap, so measured, of a detection with where a track is expected, in the two steps. These were chosen on the
#: first parts of what `python -m bench tracker` reports on.
_LEAST, _LEAST_LOW = 0.2, 0.4


class Tracker:
    """Analysis thread only.

    :param ids: where new tracks get theirs; shared by all cameras, so that an id is unique.
    """

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._at = 0.0
        #: All that may still be seen again: a structured array of TRACK, by ascending id.
        self.tracks: NDArray[Any] = np.zeros(0, TRACK)

    def forget(self, before: float) -> NDArray[Any]:
        """Drop and return the tracks that were last seen before then (monotonic seconds).

        Called before :meth:`update`, so that after a gap of the camera nothing goes on with a track of before. Of very
        many those are dropped earlier that were not seen for longest: a storm of false boxes costs no more than that.
        """
        if len(self.tracks) > _MOST:
            before = max(before, float(np.sort(self.tracks["seen_at"])[-_MOST]))
        lost = self.tracks["seen_at"] < before
        forgotten = self.tracks[lost]
        if len(forgotten):
            self.tracks = self.tracks[~lost]
        return forgotten

    def update(self, found: Detections, at: float, min_score: float) -> NDArray[np.int64]:
        """The track of each of *found* ([N]): 0 for one of a low score that belongs to none, or that is not finite.

        :param at: when the frame was captured, monotonic seconds.
        :param min_score: the lowest that the camera reports.
        """
        if len(self.tracks):
            motion.predict(self.tracks, max(0.0, at - self._at))
        self._at = at
        ids = np.zeros(len(found), np.int64)
        if not len(found):
            return ids
        seen = _Seen.of(found)
        reported = found.scores >= min_score
        high = (seen.usable & reported).nonzero()[0]
        every = np.arange(len(self.tracks))
        matched = self._go_on(every, seen, high, ids, reported=True)
        if len(high) < len(found) and len(matched) < len(every):
            low = (seen.usable & ~reported).nonzero()[0]
            self._go_on(np.delete(every, matched), seen, low, ids, reported=False)
        if len(matched) < len(high):
            self._begin(seen, high[ids[high] == 0], ids)
        return ids

    def _go_on(
        self, rows: NDArray[np.intp], seen: _Seen, which: NDArray[np.intp], ids: NDArray[np.int64], *, reported: bool
    ) -> NDArray[np.intp]:
        """Match *which* of the detections with the tracks of *rows*; those of the rows that were."""
        if not len(which) or not len(rows):
            return rows[:0]
        expected = _around(self.tracks["centre"][rows], self.tracks["sides"][rows])
        similarity = overlaps(expected, _around(seen.centres[which], seen.sides[which]))
        similarity *= self.tracks["class_id"][rows][:, None] == seen.classes[which]
        own, theirs = best_pairs(similarity, _LEAST if reported else _LEAST_LOW)
        rows, which = rows[own], which[theirs]
        tracks = self.tracks.take(rows)
        motion.observe(tracks, seen.centres[which], seen.sides[which])
        if reported:
            tracks["box"], tracks["score"] = seen.boxes[which], seen.scores[which]
            tracks["hits"] += 1
            tracks["seen_at"] = self._at
            tracks["top_score"] = np.maximum(tracks["top_score"], tracks["score"])
            stillness.observe(tracks, self._at)
        self.tracks.view(_RAW)[rows] = tracks.view(_RAW)
        ids[which] = tracks["id"]
        return rows

    def _begin(self, seen: _Seen, which: NDArray[np.intp], ids: NDArray[np.int64]) -> None:
        """A track for each of *which* of the detections."""
        tracks = np.zeros(len(which), TRACK)
        ids[which] = tracks["id"] = list(islice(self._ids, len(which)))
        tracks["class_id"], tracks["box"] = seen.classes[which], seen.boxes[which]
        tracks["score"] = tracks["top_score"] = seen.scores[which]
        tracks["hits"] = 1
        tracks["first_at"] = tracks["seen_at"] = self._at
        motion.start(tracks, seen.centres[which], seen.sides[which])
        stillness.start(tracks, self._at)
        self.tracks = np.concatenate([self.tracks, tracks])


class _Seen(NamedTuple):
    """The detections of a frame, as they are compared with tracks."""

    #: [N, 4], whose sides are a pixel at least: at the edge of the picture one may have been cut to nothing.
    boxes: NDArray[np.float64]
    centres: NDArray[np.float64]
    sides: NDArray[np.float64]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    #: Whether all numbers of it are finite.
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, found: Detections) -> _Seen:
        usable = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
        boxes = found.boxes.astype(np.float64)
        boxes[~usable] = 0.0
        low, high = boxes[:, :2], boxes[:, 2:]
        np.maximum(high, low + 1.0, out=high)
        return cls(boxes, (low + high) / 2, high - low, found.scores, found.classes, usable)


def _around(centres: NDArray[np.float64], sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """The boxes that are compared: see _BUFFER."""
    reach = sides * (0.5 + _BUFFER)
    return np.concatenate([centres - reach, centres + reach], axis=1)
