"""What can be set: every key, its default, its bounds and the one sentence that explains it.

The sentences are the comments of config/sightd.yaml and the hover texts of config/sightd.schema.json.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional

from pydantic import Field, model_validator

from .camera_url import takes_password
from .cameras import CameraDefaults, CameraSettings, ClassifierSettings
from .http import HttpSettings
from .mqtt import MqttSettings
from .section import Section
from .values import CameraName, ClassifierName, FilePath, NodeName

__all__ = [
    "DEFAULT_CONFIG",
    "AgreementSettings",
    "CalibrationSettings",
    "EngineSettings",
    "EventSettings",
    "OutboxSettings",
    "Settings",
    "json_schema",
]

#: Where the file is when neither a command's argument nor $SIGHTD_CONFIG says otherwise.
DEFAULT_CONFIG = Path("/etc/sightd/sightd.yaml")


class EngineSettings(Section):
    """How the engine uses this machine."""

    threads: int = Field(default=0, ge=0, description="CPU threads that compute; 0: one a core")
    max_batch: int = Field(default=0, ge=0, description="Largest batch, never above the bundle's; 0: the bundle's")
    preprocess: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="Where TensorRT's pictures are resized; auto tries both and keeps the faster"
    )


class OutboxSettings(Section):
    """Where events are kept until the broker has them, and how many."""

    folder: FilePath = Field(
        default=Path("/var/lib/sightd/outbox"), description="Folder for events that the broker does not have yet"
    )
    max_events: int = Field(
        default=100_000, ge=1000, description="Most events to keep; then the oldest of the least important go"
    )
    max_mb: int = Field(default=256, ge=1, description="Most disk space for them, in megabytes")
    max_age_days: int = Field(default=7, ge=0, description="Events are dropped after so many days of running; 0: never")
    replay_s: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="A new connection begins with the events of the last one's last so many seconds, sent again",
    )


class CalibrationSettings(Section):
    """Where frames are kept for the next conversion, how many, and whether the daemon adds to them."""

    enabled: bool = Field(
        default=False,
        description="Whether the daemon adds frames while it runs: pictures of all that its cameras see, see masks",
    )
    folder: FilePath = Field(default=Path("/var/lib/sightd/calibration"), description="Folder of the calibration set")
    max_frames: int = Field(default=1024, ge=1, description="Most frames to keep")
    max_mb: int = Field(default=2048, ge=1, description="Most disk space to use, in megabytes")
    max_age_days: int = Field(default=0, ge=0, description="Remove frames older than so many days; 0: never")
    interval_s: int = Field(
        default=60, ge=1, description="The daemon considers one frame of each camera in so many seconds"
    )


class EventSettings(Section):
    """When the objects that cameras report become events."""

    enabled: bool = Field(default=True, description="Whether there are events")
    min_duration_s: float = Field(
        default=0.5, ge=0, le=60, description="An object that is seen for fewer seconds is no event"
    )
    lost_after_s: float = Field(
        default=3.0, gt=0, le=60, description="One that is not seen for so many seconds is gone; three frames at least"
    )
    update_interval_s: float = Field(
        default=5.0, ge=0, le=3600, description="Least seconds between two events of an object that changes"
    )


class AgreementSettings(Section):
    """What an INT8 engine must reach on held-out frames to be shipped; docs/agreement.md derives the defaults."""

    min_score: float = Field(
        default=0.3, gt=0, lt=0.9, description="Score from which a box is reported; the conversion judges around it"
    )
    margin: float = Field(
        default=0.1,
        gt=0,
        lt=0.5,
        description="How far above min_score a reference box must lie to be evidence: nearer ones flip in any build",
    )
    iou: float = Field(default=0.5, gt=0, lt=1, description="Overlap from which two boxes are the same")
    min_evidence: int = Field(default=200, ge=1, description="Reference boxes without which there is no verdict")
    min_ap: float = Field(default=0.82, ge=0, le=1, description="AP over IoU .50:.95, the reference's boxes being true")
    min_ap50: float = Field(default=0.9, ge=0, le=1, description="AP at IoU .50")
    min_recall: float = Field(default=0.96, ge=0, le=1, description="Share of the evidence that is found again")
    min_precision: float = Field(
        default=0.97, ge=0, le=1, description="Share of the reported boxes that the reference explains"
    )
    min_matched_iou: float = Field(default=0.9, ge=0, le=1, description="Mean overlap of the boxes found again")
    max_score_shift: float = Field(default=0.03, ge=0, le=1, description="Mean change of the score, either way")
    interval_slack: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="How far the worse end of a 95 % interval may miss a limit that the figure itself reaches",
    )
    min_group_evidence: int = Field(
        default=20, ge=1, description="Reference boxes from which a class or a camera is judged by itself"
    )
    min_class_recall: float = Field(default=0.8, ge=0, le=1, description="Recall of every such class")
    min_camera_recall: float = Field(default=0.85, ge=0, le=1, description="Recall on every such camera")


class Settings(Section):
    """The whole file; ``cameras`` are already merged with ``camera_defaults``."""

    node: Optional[NodeName] = Field(default=None, description="Name of this box in topics; null: the host name")
    bundle: FilePath = Field(
        default=Path("/opt/sightd/bundles/default"), description="Folder that sightd convert wrote the model to"
    )
    bundle_folders: List[FilePath] = Field(
        default=["/opt/sightd/bundles", "."],
        validate_default=True,
        min_length=1,
        description="Folders that models may be loaded from, for engines are code; '.' is this file's own",
    )
    mqtt: MqttSettings = Field(default=MqttSettings(), description="The MQTT broker")
    engine: EngineSettings = Field(default=EngineSettings(), description="How the engine uses this machine")
    nms_iou: Optional[float] = Field(
        default=None,
        gt=0,
        le=1,
        description="Of two boxes of a class that overlap more, the lower is dropped; null: the bundle's",
    )
    max_objects: int = Field(default=100, ge=1, description="Most objects to report a frame")
    stats_interval_s: int = Field(default=10, ge=1, description="Seconds from one stats message to the next")
    http: HttpSettings = Field(
        default=HttpSettings(), description="For Prometheus and probes: /metrics, /live, /ready, /startup; docs/http.md"
    )
    outbox: OutboxSettings = Field(
        default=OutboxSettings(), description="Events on their way to the broker, which outlive both"
    )
    memory_limit_mb: int = Field(
        default=0,
        ge=0,
        description="Megabytes from which the daemon gives things up; 0: the limit of its control group (MemoryHigh=)",
    )
    calibration: CalibrationSettings = Field(
        default=CalibrationSettings(), description="Frames that are kept for the next conversion"
    )
    events: EventSettings = Field(
        default=EventSettings(), description="Objects that come, change and go, as messages that must arrive"
    )
    agreement: AgreementSettings = Field(
        default=AgreementSettings(), description="What sightd convert --config demands of an INT8 engine"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe messages to log"
    )
    classifiers: Dict[ClassifierName, ClassifierSettings] = Field(
        default={},
        description="Second models by name, for attributes of what was found: type: {bundle: PATH, objects: [car]}",
        json_schema_extra={"additionalProperties": False},
    )
    camera_defaults: CameraDefaults = Field(
        default=CameraDefaults(), description="What every camera starts from; each may set any of these keys for itself"
    )
    cameras: Dict[CameraName, CameraSettings] = Field(
        min_length=1,
        description="The cameras by name (lower-case letters, digits, _ and -); at least one",
        json_schema_extra={"additionalProperties": False},
    )

    @model_validator(mode="before")
    @classmethod
    def _overlay_cameras(cls, data: Any) -> Any:
        """Merged before validation, so that a mistake in a camera is still found at the camera."""
        if not isinstance(data, dict) or not isinstance(data.get("cameras"), dict):
            return data
        common = data.get("camera_defaults")
        common = common if isinstance(common, dict) else {}
        merged = {name: _overlaid(common, own) for name, own in data["cameras"].items()}
        return {**data, "cameras": merged}

    @model_validator(mode="after")
    def _classifiers_have_cameras(self) -> Settings:
        owners: Dict[str, str] = {}
        for name, classifier in self.classifiers.items():
            for camera in classifier.cameras or ():
                if camera not in self.cameras:
                    near = difflib.get_close_matches(camera, self.cameras, 1)
                    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(self.cameras)}"
                    raise ValueError(f"classifiers.{name}.cameras: there is no camera '{camera}'; {hint}")
            other = owners.setdefault(_folder(classifier.bundle), name)
            if other != name:
                raise ValueError(f"classifiers.{name}.bundle: is that of {other}; list all its objects there")
        return self

    def bundle_of(self, camera: str) -> str:
        """Folder of the model that looks at *camera*; the same text for the same folder."""
        return _folder(self.cameras[camera].bundle or self.bundle)

    def classifier_bundle(self, name: str) -> str:
        """Folder of the classifier *name*, likewise."""
        return _folder(self.classifiers[name].bundle)

    @property
    def bundles(self) -> List[str]:
        """Folders of all models that are loaded, each once: those of the enabled cameras, then the classifiers'."""
        detectors = {self.bundle_of(name): None for name, camera in self.cameras.items() if camera.enabled}
        first = {folder: None for folder in detectors if folder == _folder(self.bundle)}
        return list({**first, **detectors, **{self.classifier_bundle(name): None for name in self.classifiers}})

    @property
    def node_name(self) -> str:
        """The name of this box in topics."""
        return self.node or re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:64] or "box"

    @property
    def topic_prefix(self) -> str:
        """The start of every topic, without a '/' at the end."""
        return self.mqtt.topic_prefix or f"sightd/{self.node_name}"

    @property
    def client_id(self) -> str:
        """The MQTT client identifier."""
        return self.mqtt.client_id or f"sightd-{self.node_name}"


def json_schema() -> Dict[str, Any]:
    """The JSON Schema of the file, for editors: the content of config/sightd.schema.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def _folder(path: Path) -> str:
    return os.path.normpath(path)


def _overlaid(common: Dict[str, Any], own: Any) -> Any:
    """One camera's keys over the common ones; a file needs no password, so it does not inherit one."""
    if not isinstance(own, dict):
        return own
    inherits = takes_password(own.get("url"))
    return {**{key: value for key, value in common.items() if inherits or key != "password_file"}, **own}
