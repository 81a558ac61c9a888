"""How the daemon is doing: counters since the start, and how things stand now."""

from __future__ import annotations

from typing import Dict, List

import msgspec

__all__ = [
    "CalibrationStats",
    "CameraStats",
    "ClassifierStats",
    "ClockStats",
    "CommandStats",
    "EngineStats",
    "MemoryStats",
    "OutboxStats",
    "PublisherStats",
    "QueueStats",
    "StatsMessage",
]


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
    #: The sums that these are the means of: a rate can be had from them.
    frames: int
    infer_s: float


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
    #: The same of what it does not take now; "" where nothing is known that it does not.
    denies: str


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
