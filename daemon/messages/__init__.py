"""What the daemon says over MQTT: the payloads as data, and their encoding as JSON.

docs/asyncapi.yaml is the same as a contract for others; a test holds the two together.
"""

from __future__ import annotations

from .detections import DetectedObject, DetectionsMessage, LatencyMs
from .encoding import encode, encode_detections
from .events import EventMessage, TrackedObject
from .info import SCHEMA, ConfigMessage, EngineInfo, InfoMessage, ModelInfo
from .states import (
    CAMERA_CORRUPT,
    CAMERA_DISABLED,
    CAMERA_FROZEN,
    CAMERA_OFFLINE,
    CAMERA_ONLINE,
    CAMERA_SLOW,
    OFFLINE,
    ONLINE,
    STOPPED,
)
from .stats import (
    CalibrationStats,
    CameraStats,
    ClassifierStats,
    ClockStats,
    CommandStats,
    EngineStats,
    MemoryStats,
    OutboxStats,
    PublisherStats,
    QueueStats,
    StatsMessage,
)

__all__ = [
    "CAMERA_CORRUPT",
    "CAMERA_DISABLED",
    "CAMERA_FROZEN",
    "CAMERA_OFFLINE",
    "CAMERA_ONLINE",
    "CAMERA_SLOW",
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
