"""One camera's tracker: gives the detections of each frame the ids of the objects that they are.

In two steps, as ByteTrack (Zhang et al., ECCV 2022): the detections that the camera reports are matched with the tracks
first; those that score too low to be reported may then go on with one that is left. They never begin one, and do not
prolong its life. So an object that is half hidden for a moment stays the same, and noise makes none.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Iterator

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
        #: How often it was seen with a score that the camera reports, and when first and last.
        ("hits", np.int32),
        ("first_at", np.float64),
        ("seen_at", np.float64),
        #: As it was last seen.
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

        Called before :meth:`update`, so that after a gap of the camera nothing goes on with a track of before.
        """
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
        boxes = _with_area(found.boxes)
        usable = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
        reported = found.scores >= min_score
        high, low = np.flatnonzero(usable & reported), np.flatnonzero(usable & ~reported)
        unseen = self._go_on(found, boxes, high, np.arange(len(self.tracks)), ids, reported=True)
        self._go_on(found, boxes, low, unseen, ids, reported=False)
        self._begin(found, boxes, high[ids[high] == 0], ids)
        return ids

    def _go_on(
        self,
        found: Detections,
        boxes: NDArray[np.float64],
        which: NDArray[np.intp],
        rows: NDArray[np.intp],
        ids: NDArray[np.int64],
        *,
        reported: bool,
    ) -> NDArray[np.intp]:
        """Match *which* of the detections with the tracks of *rows*; the rows that are left."""
        if not len(which) or not len(rows):
            return rows
        tracks = self.tracks[rows]
        similarity = overlaps(_grown(_expected(tracks)), _grown(boxes[which]))
        similarity *= tracks["class_id"][:, None] == found.classes[which]
        own, theirs = best_pairs(similarity, _LEAST if reported else _LEAST_LOW)
        which = which[theirs]
        seen = tracks[own]
        seen["box"], seen["score"] = boxes[which], found.scores[which]
        motion.observe(seen, _centres(boxes[which]))
        if reported:
            seen["hits"] += 1
            seen["seen_at"] = self._at
            seen["top_score"] = np.maximum(seen["top_score"], seen["score"])
            stillness.observe(seen, self._at)
        self.tracks[rows[own]] = seen
        ids[which] = seen["id"]
        return np.delete(rows, own)

    def _begin(
        self, found: Detections, boxes: NDArray[np.float64], which: NDArray[np.intp], ids: NDArray[np.int64]
    ) -> None:
        if not len(which):
            return
        tracks = np.zeros(len(which), TRACK)
        ids[which] = tracks["id"] = list(islice(self._ids, len(which)))
        tracks["class_id"], tracks["box"] = found.classes[which], boxes[which]
        tracks["score"] = tracks["top_score"] = found.scores[which]
        tracks["hits"] = 1
        tracks["first_at"] = tracks["seen_at"] = self._at
        motion.start(tracks, _centres(boxes[which]))
        stillness.start(tracks, self._at)
        self.tracks = np.concatenate([self.tracks, tracks])


def _with_area(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """The boxes with sides of a pixel at least: one at the edge of the picture may have been cut to nothing."""
    corners = boxes.astype(np.float64)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1.0)
    return corners


def _centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, np.float64)


def _expected(tracks: NDArray[Any]) -> NDArray[np.float64]:
    """The boxes of *tracks*, last seen elsewhere, where they should be now."""
    half = (tracks["box"][:, 2:] - tracks["box"][:, :2]) / 2
    return np.concatenate([tracks["centre"] - half, tracks["centre"] + half], axis=1)


def _grown(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    margin = (boxes[:, 2:] - boxes[:, :2]) * _BUFFER
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
