"""What runs here, and what came of the settings."""

from __future__ import annotations

from typing import Dict, List

import msgspec

__all__ = ["SCHEMA", "ConfigMessage", "EngineInfo", "InfoMessage", "ModelInfo"]

#: Version of all payloads, told in `info`; it grows when a consumer would have to change.
SCHEMA = 1


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
