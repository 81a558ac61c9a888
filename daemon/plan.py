"""What the settings ask of the running stages, checked against the model: the part that a reload replaces."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import FrozenSet, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from sightd.bundle import Manifest
from sightd.errors import ConfigError
from sightd.masks import Polygon
from sightd.settings import CalibrationSettings, CameraSettings, Settings
from sightd.types import Detections

__all__ = ["CameraPlan", "Collection", "Plan", "Rule", "plan_for"]


@dataclass(frozen=True)
class CameraPlan:
    """What a camera's thread needs to know; when it changes, the camera is opened anew."""

    #: With its password.
    address: str = field(repr=False)
    max_fps: float = 0.0
    pace: str = "live"
    loop: bool = False
    decoder: str = "auto"
    codec: str = "auto"
    rotate: int = 0


@dataclass(frozen=True)
class Rule:
    """What becomes of one camera's frames."""

    min_score: float
    #: Class indices; None reports all.
    classes: Optional[FrozenSet[int]] = None
    #: Painted over in the frames that are kept.
    masks: Tuple[Polygon, ...] = ()

    def applied(self, found: Detections) -> Detections:
        """Those of *found* that this camera reports."""
        keep = found.scores >= self.min_score
        if self.classes is not None:
            keep &= np.isin(found.classes, list(self.classes))
        return Detections(found.boxes[keep], found.scores[keep], found.classes[keep])


@dataclass(frozen=True)
class Collection:
    """The calibration set that frames are added to, its bounds, and how often each camera is considered."""

    folder: Path
    max_frames: int
    max_bytes: int
    #: 0: none.
    max_age_s: float
    interval_s: float


@dataclass(frozen=True)
class Plan:
    """All that may change while the service runs; one stage reads it while another replaces it as a whole."""

    #: Every configured camera; None for one that is disabled.
    cameras: Mapping[str, Optional[CameraPlan]]
    #: Of the enabled ones.
    rules: Mapping[str, Rule]
    #: IoU above which NMS drops the lower of two boxes of a class.
    nms_iou: float = 0.45
    max_objects: int = 100
    #: None: no frames are kept.
    collection: Optional[Collection] = None

    @property
    def min_score(self) -> float:
        """The lowest score that any camera reports."""
        return min(rule.min_score for rule in self.rules.values())


def plan_for(settings: Settings, manifest: Manifest) -> Plan:
    """What *settings* ask for with this model.

    :raises ConfigError: they do not fit it, no camera is enabled, or a camera's password can't be read.
    """
    cameras = {name: _camera(name, camera) if camera.enabled else None for name, camera in settings.cameras.items()}
    if not any(cameras.values()):
        raise ConfigError("every camera is disabled: set enabled: true for one at least")
    output = manifest.output
    rules = {
        name: Rule(
            min_score=output.min_score if camera.min_score is None else camera.min_score,
            classes=_class_indices(camera.labels, manifest.labels, name),
            masks=tuple(camera.masks),
        )
        for name, camera in settings.cameras.items()
        if camera.enabled
    }
    collection = _collection(settings.calibration)
    return Plan(cameras, rules, settings.nms_iou or output.nms_iou, settings.max_objects, collection)


def _camera(name: str, camera: CameraSettings) -> CameraPlan:
    try:
        return CameraPlan(
            *(camera.address(), camera.max_fps, camera.pace, camera.loop, camera.decoder, camera.codec, camera.rotate)
        )
    except ConfigError as error:
        raise ConfigError(f"cameras.{name}.{error}") from error


def _collection(wanted: CalibrationSettings) -> Optional[Collection]:
    if not wanted.enabled:
        return None
    max_age_s = wanted.max_age_days * 86400.0
    return Collection(wanted.folder, wanted.max_frames, wanted.max_mb << 20, max_age_s, wanted.interval_s)


def _class_indices(wanted: Optional[List[str]], labels: Sequence[str], camera: str) -> Optional[FrozenSet[int]]:
    """The indices of the *wanted* labels; None stands for all."""
    if wanted is None:
        return None
    for label in wanted:
        if label not in labels:
            close = difflib.get_close_matches(label, labels, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(labels)}"
            raise ConfigError(f"cameras.{camera}.labels: the model has no label {label!r}; {hint}")
    return frozenset(labels.index(label) for label in wanted)
