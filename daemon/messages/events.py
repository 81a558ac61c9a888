"""What becomes of an object."""

from __future__ import annotations

from typing import List, Mapping, Optional

import msgspec

from sightd.types import Attribute

__all__ = ["EventMessage", "TrackedObject"]


class TrackedObject(msgspec.Struct, frozen=True):
    """What an event says of an object; the names, units and boxes are those of Frigate's events."""

    #: "<start_time>-<boot_id>-<track_id>": the same in all events of the object, unique over nodes and restarts.
    id: str
    #: As in detections.
    track_id: int
    camera: str
    #: When it was last seen: captured_at of that frame (Unix seconds, UTC).
    frame_time: float
    label: str
    #: When last seen, and the best so far.
    score: float
    top_score: float
    start_time: float
    #: None until its end; then when it was last seen.
    end_time: Optional[float]
    #: x1, y1, x2, y2 in whole pixels, its area in square pixels, width over height.
    box: List[int]
    area: int
    ratio: float
    #: Whether it stands still, in how many frames it has since it last moved, how often it moved on after it had stood.
    stationary: bool
    motionless_count: int
    position_changes: int
    #: By classifier, its surest word so far.
    attributes: Mapping[str, Attribute]


class EventMessage(msgspec.Struct, frozen=True):
    """An object has come, has changed or is gone."""

    #: "new", "update" or "end".
    type: str
    #: Of the event, in the order in which they happened; see :meth:`daemon.outbox.Outbox.next_seq`.
    seq: int
    boot_id: str
    #: As it was told last; with "new" the same as after.
    before: TrackedObject
    after: TrackedObject
