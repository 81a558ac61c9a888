"""What the daemon says over MQTT: the payloads as data, and their encoding as JSON.

docs/asyncapi.yaml is the same as a contract for others; a test holds the two together. Numbers are
rounded here (an unrounded float32 doubles the payload) and are always finite.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence

import msgspec
import numpy as np

from sightd.types import Attribute, Detections, Frame

if TYPE_CHECKING:
    from .batches import StageTimes

__all__ = [
    "CAMERA_DISABLED",
    "CAMERA_FROZEN",
    "CAMERA_OFFLINE",
    "CAMERA_ONLINE",
    "OFFLINE",
    "ONLINE",
    "SCHEMA",
    "STOPPED",
    "CalibrationStats",
    "CameraStats",
    "ClassifierStats",
    "ClockStats",
    "CommandStats",
    "ConfigMessage",
    "DetectedObject",
    "DetectionsMessage",
    "EngineInfo",
    "EngineStats",
    "EventMessage",
    "InfoMessage",
    "LatencyMs",
    "MemoryStats",
    "ModelInfo",
    "OutboxStats",
    "PublisherStats",
    "QueueStats",
    "StatsMessage",
    "TrackedObject",
    "encode",
    "encode_detections",
]

#: Version of all payloads, told in `info`; it grows when a consumer would have to change.
SCHEMA = 1

#: Payloads of `available`: the daemon runs, it was stopped, it vanished (the will).
ONLINE, STOPPED, OFFLINE = b"online", b"stopped", b"offline"

#: Payloads of `<camera>/status`: frames come; there is no connection; there is one, but no new picture; it is disabled.
CAMERA_ONLINE, CAMERA_OFFLINE, CAMERA_FROZEN, CAMERA_DISABLED = b"online", b"offline", b"frozen", b"disabled"
#: And two of a camera that is looked at all the same: pictures are damaged, or markedly fewer than usual.
CAMERA_CORRUPT, CAMERA_SLOW = b"corrupt", b"slow"


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


class EngineInfo(msgspec.Struct, frozen=True):
    """The engine that detects, which is not always the bundle's own."""

    #: "onnxruntime" or "tensorrt".
    kind: str
    #: "int8", "fp16" or "fp32".
    precision: str
    sha256: str


class ModelInfo(msgspec.Struct, frozen=True):
    """One model that runs: a detector or a classifier."""

    #: Its folder.
    bundle: str
    #: File name of the model that the engine was made of.
    model: str
    engine: EngineInfo
    labels: List[str]
    #: Names of the enabled cameras that it looks at.
    cameras: List[str]
    #: Why it is another engine than the bundle's own, and the command that mends it; "" where it is that.
    fallback_reason: str


class InfoMessage(msgspec.Struct, frozen=True):
    """What runs here; retained."""

    #: sightd's version.
    version: str
    node: str
    #: File name of the model that the engine was made of; of several detectors, of the first.
    model: str
    engine: EngineInfo
    #: Of all detectors.
    labels: List[str]
    #: Names of all configured cameras.
    cameras: List[str]
    #: Every detector, the settings' own bundle first.
    models: List[ModelInfo]
    #: By name.
    classifiers: Dict[str, ModelInfo] = {}
    #: Why another engine runs than a bundle's own, and the command that mends it, a line a bundle; "" where none does.
    fallback_reason: str = ""
    schema: int = SCHEMA


class ConfigMessage(msgspec.Struct, frozen=True):
    """What came of the last reading of the settings; retained."""

    #: Unix seconds, UTC.
    at: float
    #: "started", "applied", "unchanged", or "refused": the settings before stay in force.
    result: str
    #: Why it was refused: one mistake a line, each with file, line and key.
    error: str = ""
    #: Names of cameras.
    added: List[str] = []
    removed: List[str] = []
    changed: List[str] = []
    #: Keys whose new value waits for a restart of the service.
    restart_needed: List[str] = []


class CameraStats(msgspec.Struct, frozen=True):
    """One camera's counters since the start, and its rate now."""

    #: The word of `<camera>/status`.
    state: str
    fps: float
    received: int
    dropped: int
    inferred: int
    #: Why it is not online, without passwords; "" where it is, or is disabled.
    reason: str = ""


class EngineStats(msgspec.Struct, frozen=True):
    """The work of a detector, or of all, since the start."""

    batches: int
    #: Frames a batch.
    mean_batch: float
    #: Mean milliseconds from submission to result.
    infer_ms: float


class ClassifierStats(msgspec.Struct, frozen=True):
    """A classifier's work since the start."""

    #: Objects that it looked at.
    crops: int
    #: Objects that it should have, but there were more in a frame or a batch than it takes.
    skipped: int


class QueueStats(msgspec.Struct, frozen=True):
    """Messages that wait now, events among them; messages of streams dropped because they were too many."""

    depth: int
    dropped: int


class OutboxStats(msgspec.Struct, frozen=True):
    """The events on their way to the broker; see :class:`daemon.outbox.spool.SpoolStats`."""

    #: Why they are not stored, but kept in memory; "" while they are stored.
    trouble: str
    depth: int
    stored: int
    unsaved: int
    dropped: Dict[str, int]
    quarantined: int
    set_aside: int
    oldest_s: float


class PublisherStats(msgspec.Struct, frozen=True):
    """The connection to the broker; see :class:`daemon.publisher.Publisher`."""

    connected: bool
    #: "host:port" of the broker that we are connected to, or that is tried.
    broker: str
    #: "connecting", "connected", or "refused: <reason>".
    state: str
    #: Seconds for which it has been connected, or has not; seconds without a connection since the start, in all.
    state_s: float
    away_s: float
    published: int
    dropped: int
    connections: int
    #: Attempts to connect that a broker refused, by reason, and "<reason>: <host:port>" of the last one.
    refusals: Dict[str, int]
    last_refusal: str
    #: Messages that the broker did not take, in all and by reason, and "<reason>: <topic>" of the last one.
    denied: int
    denials: Dict[str, int]
    last_denial: str


class CommandStats(msgspec.Struct, frozen=True):
    """Commands since the start; see :class:`daemon.commands.Commands`."""

    accepted: int
    #: By reason: "retained", "malformed", "unknown" camera, camera "disabled" by the settings, "superseded".
    refused: Dict[str, int]


class CalibrationStats(msgspec.Struct, frozen=True):
    """The frames that are kept for the next conversion; see :class:`daemon.collector.Collector`."""

    #: "off", "on", "blocked": the set can't be written, which is tried again; or "failed".
    state: str
    #: In the set now; 0 while it is not open.
    frames: int
    #: Since the start: frames kept, frames of no use by reason, frames not considered for want of time.
    kept: int
    refused: Dict[str, int]
    skipped: int


class MemoryStats(msgspec.Struct, frozen=True):
    """The memory of the service, its child processes included, without what the kernel takes back at need."""

    used_mb: float
    #: What it may take: of its control group, or as set; 0: none is known.
    limit_mb: float
    #: What is given up for want of memory: "calibration", "camera <name>".
    given_up: List[str] = []


class ClockStats(msgspec.Struct, frozen=True):
    """The wall clock, which all times in messages are of: how often it was set since the start, and how far at last."""

    jumps: int
    last_jump_s: float


class StatsMessage(msgspec.Struct, frozen=True):
    """How the daemon is doing, every few seconds."""

    uptime_s: float
    boot_id: str
    cameras: Dict[str, CameraStats]
    #: Of all detectors together.
    engine: EngineStats
    #: Of each detector, by its bundle's folder.
    models: Dict[str, EngineStats]
    #: By name.
    classifiers: Dict[str, ClassifierStats]
    queue: QueueStats
    outbox: OutboxStats
    publisher: PublisherStats
    commands: CommandStats
    calibration: CalibrationStats
    rss_mb: float
    memory: MemoryStats
    clock: ClockStats


def encode(message: msgspec.Struct) -> bytes:
    """*message* as compact JSON."""
    return msgspec.json.encode(message)


def encode_detections(
    frame: Frame,
    detections: Detections,
    track_ids: Sequence[int],
    labels: Sequence[str],
    times: StageTimes,
    *,
    boot_id: str,
    published_at: float,
) -> bytes:
    """A :class:`DetectionsMessage` as JSON, fast: tens of microseconds for ten objects.

    An object whose score or box is not finite is left out: JSON has no NaN.

    :param track_ids: of the detections.
    :param labels: of the bundle, by class index.
    :param published_at: wall clock now (Unix seconds).
    :raises IndexError: a class has no label, so the bundle's labels are not this model's.
    """
    height, width = frame.image.shape[:2]
    return msgspec.json.encode(
        DetectionsMessage(
            camera=frame.camera,
            seq=frame.seq,
            frame_id=f"{boot_id}-{frame.camera}-{frame.seq}",
            captured_at=round(frame.captured_at, 3),
            published_at=round(published_at, 3),
            width=width,
            height=height,
            latency_ms=_latency(times),
            objects=_objects(detections, track_ids, labels, width, height),
        )
    )


def _latency(times: StageTimes) -> LatencyMs:
    stages = [times.decode_s, times.wait_s, times.resize_s, times.infer_s, times.post_s, times.classify_s]
    return LatencyMs(*[round(stage_s * 1000, 2) for stage_s in (*stages, sum(stages))])


def _objects(
    detections: Detections, track_ids: Sequence[int], labels: Sequence[str], width: int, height: int
) -> List[DetectedObject]:
    """Built by column: one tolist() a column is several times faster than touching single NumPy numbers."""
    if not len(detections):
        return []  # the usual frame
    # float64, because 12.3 as float32 would be written as 12.300000190734863
    boxes, scores = detections.boxes.astype(np.float64), detections.scores.astype(np.float64)
    return [
        DetectedObject(track_id, labels[index], score, box, box_norm, attributes)
        for track_id, index, score, box, box_norm, attributes in zip(
            track_ids,
            detections.classes.tolist(),
            scores.round(3).tolist(),
            boxes.round(1).tolist(),
            (boxes / (width, height, width, height)).round(4).tolist(),
            detections.attributes or [{}] * len(scores),
        )
        if isfinite(score + sum(box))
    ]
