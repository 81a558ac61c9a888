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

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from .camera_url import takes_password, with_password
from .masks import Masks
from .secrets import read_secret
from .values import CameraName, ClassifierName, FilePath, Host, NodeName, Text, TopicPrefix, Url

__all__ = [
    "DEFAULT_CONFIG",
    "AgreementSettings",
    "CalibrationSettings",
    "CameraDefaults",
    "CameraSettings",
    "ClassifierSettings",
    "EngineSettings",
    "MqttSettings",
    "Settings",
    "TlsSettings",
    "json_schema",
]

#: Where the file is when neither a command's argument nor $SIGHTD_CONFIG says otherwise.
DEFAULT_CONFIG = Path("/etc/sightd/sightd.yaml")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class TlsSettings(_Section):
    """How the connection to the broker is encrypted, and how the two prove who they are."""

    enabled: bool = Field(
        default=False, description="Whether to speak TLS; the broker's certificate is always verified"
    )
    ca_file: Optional[FilePath] = Field(
        default=None, description="Certificate of the authority that signed the broker's (PEM); null: the system's"
    )
    cert_file: Optional[FilePath] = Field(
        default=None, description="Client certificate (PEM), for a broker that wants one; needs key_file"
    )
    key_file: Optional[FilePath] = Field(
        default=None, description="Key of the client certificate (PEM, not encrypted), unreadable for others"
    )

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _has_an_effect(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not info.data.get("enabled", True):
            raise ValueError("has no effect without enabled: true beside it")
        return value

    @model_validator(mode="after")
    def _is_a_pair(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together; give both or none")
        return self


class MqttSettings(_Section):
    """The broker and how to reach it."""

    host: Host = Field(default="127.0.0.1", description="Broker's host name or address")
    port: Optional[int] = Field(
        default=None, ge=1, le=65535, description="Broker's TCP port; null: 1883, or 8883 with TLS"
    )
    username: Optional[Text] = Field(default=None, description="User name at the broker; null connects without one")
    password: Optional[SecretStr] = Field(
        default=None, description="Password in plain text; better kept in a password_file"
    )
    password_file: Optional[FilePath] = Field(
        default=None, description="File that holds the password and nothing else, unreadable for others"
    )
    topic_prefix: Optional[TopicPrefix] = Field(default=None, description="Start of every topic; null: sightd/<node>")
    client_id: Optional[Text] = Field(default=None, description="MQTT client identifier; null: sightd-<node>")
    keepalive_s: int = Field(
        default=10, ge=1, le=65535, description="A dead broker is noticed after twice this many seconds"
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="Encryption")

    @field_validator("password", "password_file")
    @classmethod
    def _goes_with(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("username", "") is None:
            raise ValueError("needs a username beside it")
        if value is not None and info.data.get("password") is not None:
            raise ValueError("excludes password; keep one of the two")
        return value

    @property
    def broker_port(self) -> int:
        """The TCP port to connect to."""
        return self.port or (8883 if self.tls.enabled else 1883)

    def read_password(self) -> Optional[str]:
        """The broker's password, read anew from password_file where one is named; None without either.

        :raises ConfigError: see :func:`.secrets.read_secret`.
        """
        if self.password_file is not None:
            return read_secret(self.password_file, "mqtt.password_file")
        return None if self.password is None else self.password.get_secret_value()


class EngineSettings(_Section):
    """How the engine uses this machine."""

    threads: int = Field(default=0, ge=0, description="CPU threads that compute; 0: one a core")
    max_batch: int = Field(default=0, ge=0, description="Largest batch, never above the bundle's; 0: the bundle's")
    preprocess: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="Where TensorRT's pictures are resized; auto tries both and keeps the faster"
    )


class CalibrationSettings(_Section):
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


class AgreementSettings(_Section):
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


class ClassifierSettings(_Section):
    """A second model, which looks closer at what the cameras' models have found."""

    bundle: FilePath = Field(description="Folder that sightd convert wrote the classifier to")
    # Not "on", which YAML 1.1 reads as true.
    objects: Optional[List[Text]] = Field(
        default=None, min_length=1, description="Labels of the objects to look at; null: all that are reported"
    )
    min_score: float = Field(default=0.5, ge=0, le=1, description="Lowest score to report")
    min_size: int = Field(default=24, ge=1, description="Pixels that the object's shorter side must have")
    max_per_frame: int = Field(default=8, ge=1, description="Most objects a frame to look at, the largest first")
    cameras: Optional[List[CameraName]] = Field(
        default=None, min_length=1, description="Cameras whose objects to look at; null: all"
    )


class CameraDefaults(_Section):
    """What every camera starts from."""

    bundle: Optional[FilePath] = Field(
        default=None, description="Folder of the model that looks at the camera; null: the bundle above"
    )
    max_fps: float = Field(default=10.0, ge=0, description="Most frames a second to look at; 0: every frame")
    min_score: Optional[float] = Field(
        default=None, ge=0, le=1, description="Lowest score to report; null: the bundle's"
    )
    labels: Optional[List[Text]] = Field(default=None, min_length=1, description="Labels to report; null: all")
    enabled: bool = Field(default=True, description="Whether the camera is looked at")
    masks: Masks = Field(
        default=[],
        description="Areas that kept frames do not show, each as corners [x, y] in shares 0 to 1; detection sees them",
    )
    rotate: Literal[0, 90, 180, 270] = Field(
        default=0, description="Degrees to turn the picture clockwise; boxes and masks are those of the turned picture"
    )
    decoder: Literal["auto", "ffmpeg", "gstreamer"] = Field(
        default="auto",
        description="What reads rtsp:// and rtsps://; auto: a Jetson's decoder by GStreamer, elsewhere FFmpeg",
    )
    codec: Literal["auto", "h264", "h265", "mjpeg"] = Field(
        default="auto", description="What GStreamer is to expect of rtsp:// and rtsps://; auto finds out"
    )
    loop: bool = Field(default=True, description="Files only: begin again at the end")
    pace: Literal["live", "fast"] = Field(
        default="live",
        description="Files only: live plays at the file's rate (pictures of a folder at max_fps), fast does not wait",
    )
    password_file: Optional[FilePath] = Field(
        default=None, description="File that holds the password for the user in the url, unreadable for others"
    )


class CameraSettings(CameraDefaults):
    """One camera with all that applies to it: camera_defaults overlaid by its own keys."""

    #: Normalised: an absolute path, or a URL with its scheme in lower case. May hold a password: people are
    #: shown :func:`sightd.redact.redact` of it, a source is given :meth:`address`.
    url: Url = Field(
        description="rtsp://, rtsps://, http://, https://, v4l2://, csi://, gst: and a pipeline, file:// or a path: a "
        "device's, a video's, or that of pictures (a folder, or *.jpg); docs/cameras.md"
    )

    @field_validator("url")
    @classmethod
    def _takes_the_password(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("password_file") is not None:
            with_password(value.get_secret_value(), "")
        return value

    def address(self) -> str:
        """What to open: the url, with the password read anew from password_file. For the source only.

        :raises ConfigError: see :func:`.secrets.read_secret`.
        """
        url = self.url.get_secret_value()
        if self.password_file is None:
            return url
        return with_password(url, read_secret(self.password_file, "password_file"))


class Settings(_Section):
    """The whole file; ``cameras`` are already merged with ``camera_defaults``."""

    node: Optional[NodeName] = Field(default=None, description="Name of this box in topics; null: the host name")
    bundle: FilePath = Field(
        default=Path("/opt/sightd/bundles/default"), description="Folder that sightd convert wrote the model to"
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
    calibration: CalibrationSettings = Field(
        default=CalibrationSettings(), description="Frames that are kept for the next conversion"
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
