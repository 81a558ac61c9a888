"""One camera's tracker: gives the detections of each frame the ids of the objects that they are.

In two steps, as ByteTrack (Zhang et al., ECCV 2022): the detections that the camera reports are matched with the tracks
first; those that score too low to be reported may then go on with one that is left. They never begin one, and do not
prolong its life. So an object that is half hidden for a moment stays the same, and noise makes none.
"""

from __future__ import annotations

from math import isfinite
from typing import Iterator, List, NamedTuple, Sequence, Tuple, Union

from sightd.types import Detections

from .matching import Box, best_pairs, overlaps
from .motion import Motion
from .stillness import Stillness

__all__ = ["Track", "Tracker"]

#: Tracks that are remembered beside those of the last frame, about.
_MOST = 500
#: Boxes are compared with their sides this much longer at either end, in shares of the side: what moves by its own
#: length from frame to frame would not overlap at all. (Buffered IoU: Yang et al., Hard to Track Objects with
#: Irregular Motions and Similar Appearances?, WACV 2023.)
_BUFFER = 0.3
#: Least overlap, so measured, of a detection with where a track is expected, in the two steps. These were chosen on the
#: first parts of what `python -m bench tracker` reports on.
_LEAST, _LEAST_LOW = 0.2, 0.4


class Track:
    """What is known of an object. Times are monotonic seconds, boxes x1, y1, x2, y2 in pixels of the picture."""

    def __init__(self, identity: int, seen: _Seen, at: float) -> None:
        """It was just seen for the first time."""
        self.id, self.class_id = identity, seen.class_id
        #: How often it was seen with a score that the camera reports, when first, when last, and as what then.
        self.hits, self.first_at, self.seen_at = 1, at, at
        self.box, self.score, self.top_score = seen.box, seen.score, seen.score
        self.motion = Motion(seen.x, seen.y, seen.width, seen.height)
        self.stillness = Stillness(self.motion, at)
        #: What an event said of it last, and when: 0 for never. The tracker only keeps it.
        self.told_at, self.told_top_score, self.told_stationary = 0.0, 0.0, False

    @property
    def stationary(self) -> bool:
        """Whether it had not moved for a while when it was last seen."""
        return self.stillness.is_stationary(self.seen_at)

    def report(self, seen: _Seen, at: float) -> None:
        """It was seen again with a score that the camera reports."""
        self.box, self.score = seen.box, seen.score
        self.hits += 1
        self.seen_at = at
        self.top_score = max(self.top_score, seen.score)
        self.stillness.observe(self.motion, at)


class Tracker:
    """Analysis thread only.

    :param ids: where new tracks get theirs; shared by all cameras, so that an id is unique.
    """

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._at = 0.0
        #: All that may still be seen again, by ascending id.
        self.tracks: List[Track] = []

    def forget(self, before: float) -> List[Track]:
        """Drop and return the tracks that were last seen before then (monotonic seconds).

        Called before :meth:`update`, so that after a gap of the camera nothing goes on with a track of before. Of very
        many those are dropped earlier that were not seen for longest: a storm of false boxes costs no more than that.
        """
        if len(self.tracks) > _MOST:
            before = max(before, sorted(track.seen_at for track in self.tracks)[-_MOST])
        lost = [track for track in self.tracks if track.seen_at < before]
        if lost:
            self.tracks = [track for track in self.tracks if track.seen_at >= before]
        return lost

    def update(self, found: Detections, at: float, min_score: float) -> List[int]:
        """The track of each of *found*: 0 for one of a low score that belongs to none, or that is not finite.

        :param at: when the frame was captured, monotonic seconds.
        :param min_score: the lowest that the camera reports.
        """
        seconds, self._at = max(0.0, at - self._at), at
        for track in self.tracks:
            track.motion.predict(seconds)
        ids = [0] * len(found)
        if not ids:
            return ids
        high, low = _seen(found, min_score)
        matched = _go_on(self.tracks, high, _LEAST, ids)
        for track, seen in matched:
            track.report(seen, at)
        if low and len(matched) < len(self.tracks):
            taken = {track.id for track, _ in matched}
            _go_on([track for track in self.tracks if track.id not in taken], low, _LEAST_LOW, ids)
        for seen in high:
            if not ids[seen.place]:
                ids[seen.place] = identity = next(self._ids)
                self.tracks.append(Track(identity, seen, at))
        return ids


class _Seen(NamedTuple):
    """A detection, as it is compared with tracks; its sides are a pixel at least.

    (At the edge of the picture one may have been cut to nothing.)
    """

    #: Its place in the frame's detections.
    place: int
    class_id: int
    score: float
    box: Tuple[float, float, float, float]
    #: The centre.
    x: float
    y: float
    width: float
    height: float


def _seen(found: Detections, min_score: float) -> Tuple[List[_Seen], List[_Seen]]:
    """Those that the camera reports, and the others; without what is not finite."""
    high: List[_Seen] = []
    low: List[_Seen] = []
    reported = (found.scores >= min_score).tolist()
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), reported)
    for place, ((x1, y1, x2, y2), score, class_id, is_reported) in enumerate(rows):
        if isfinite(x1 + y1 + x2 + y2 + score):
            right, bottom = max(x2, x1 + 1.0), max(y2, y1 + 1.0)
            x, y, width, height = (x1 + right) / 2, (y1 + bottom) / 2, right - x1, bottom - y1
            seen = _Seen(place, class_id, score, (x1, y1, right, bottom), x, y, width, height)
            (high if is_reported else low).append(seen)
    return high, low


def _go_on(tracks: Sequence[Track], which: Sequence[_Seen], least: float, ids: List[int]) -> List[Tuple[Track, _Seen]]:
    """Match the detections with where the *tracks* are expected, and note it in both."""
    if not tracks or not which:
        return []
    expected = [_around(track.motion, track.class_id) for track in tracks]
    overlapping = overlaps(expected, [_around(seen, seen.class_id) for seen in which], least)
    pairs = [(tracks[row], which[column]) for row, column in best_pairs(overlapping)]
    for track, seen in pairs:
        track.motion.observe(seen.x, seen.y, seen.width, seen.height)
        ids[seen.place] = track.id
    return pairs


def _around(what: Union[Motion, _Seen], class_id: int) -> Box:
    """The box that is compared: see _BUFFER."""
    x, y = what.x, what.y
    reach_x, reach_y = what.width * (0.5 + _BUFFER), what.height * (0.5 + _BUFFER)
    return x - reach_x, y - reach_y, x + reach_x, y + reach_y, class_id
