"""A camera, and the classifiers that look at what it shows: what can be set about them."""

from __future__ import annotations

from typing import List, Literal, Optional

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from .camera_url import with_password
from .masks import Masks
from .secrets import read_secret
from .section import Section
from .values import CameraName, FilePath, Text, Url

__all__ = ["CameraDefaults", "CameraSettings", "ClassifierSettings"]


class ClassifierSettings(Section):
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


class CameraDefaults(Section):
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
    decoding: Literal["process", "thread"] = Field(
        default="process",
        description="Where the camera is read; process: in one of its own, whose crash ends nothing else",
    )
    frozen_after_s: float = Field(
        default=20.0,
        ge=0,
        description="Seconds of one identical picture after which a camera is frozen, and not looked at; 0: never",
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
