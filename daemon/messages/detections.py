"""What is seen in a frame."""

from __future__ import annotations

from typing import List, Mapping

import msgspec

from sightd.types import Attribute

__all__ = ["DetectedObject", "DetectionsMessage", "LatencyMs"]


class LatencyMs(msgspec.Struct, frozen=True, gc=False):
    """Where one frame's time went, in milliseconds; see :class:`daemon.batches.StageTimes`."""

    decode: float
    wait: float
    resize: float
    infer: float
    post: float
    #: 0 where no classifier was asked.
    classify: float
    #: The sum of the above.
    total: float


class DetectedObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One object of one frame."""

    #: The same for the same object from frame to frame; unique since the daemon started.
    track_id: int
    label: str
    score: float
    #: x1, y1, x2, y2 in pixels of the camera's picture.
    box: List[float]
    #: The same as shares of the picture's width and height, 0..1.
    box_norm: List[float]
    #: By classifier, what it is sure enough of; left out where there is none.
    attributes: Mapping[str, Attribute] = {}


class DetectionsMessage(msgspec.Struct, frozen=True):
    """The objects of one frame, best first. Times are Unix seconds, UTC."""

    camera: str
    #: Counts this camera's frames since the daemon started; a gap is a dropped frame.
    seq: int
    #: "<boot_id>-<camera>-<seq>", unique over restarts.
    frame_id: str
    captured_at: float
    published_at: float
    #: The picture's size in pixels.
    width: int
    height: int
    latency_ms: LatencyMs
    objects: List[DetectedObject]
