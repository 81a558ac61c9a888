"""What the settings ask of the running stages, checked against the models: the part that a reload replaces."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import AbstractSet, List, Mapping, Optional, Sequence

from sightd import nms
from sightd.errors import ConfigError
from sightd.manifest import CLASSIFIER, Manifest
from sightd.settings import CalibrationSettings, CameraSettings, Settings
from sightd.types import Candidates, Detections, Placement

from .rules import Rule, rules_for

__all__ = ["CameraPlan", "Collection", "Plan", "Suppression", "plan_for"]


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
    decoding: str = "process"
    frozen_after_s: float = 20.0


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
class Suppression:
    """How one model's candidates become detections."""

    #: The lowest score that is of use to any of its cameras.
    min_score: float
    #: IoU above which NMS drops the lower of two boxes of a class.
    iou: float = 0.45
    max_objects: int = 100

    def applied(self, candidates: Candidates, placements: Sequence[Placement]) -> List[Detections]:
        """What is left after NMS, for each picture."""
        return nms.detections(
            candidates, placements, min_score=self.min_score, iou=self.iou, max_objects=self.max_objects
        )


@dataclass(frozen=True)
class Plan:
    """All that may change while the service runs; one stage reads it while another replaces it as a whole."""

    #: Every configured camera; None for one that is disabled.
    cameras: Mapping[str, Optional[CameraPlan]]
    #: Of the enabled ones.
    rules: Mapping[str, Rule]
    #: Of every detector that runs, by its bundle's folder.
    models: Mapping[str, Suppression]
    #: None: no frames are kept.
    collection: Optional[Collection] = None

    def bundle_of(self, camera: str) -> str:
        """Whose model looks at *camera*; any, for one that is not in the plan (any more): nobody reports its frames."""
        rule = self.rules.get(camera)
        return next(iter(self.models)) if rule is None else rule.bundle

    def without(self, off: AbstractSet[str]) -> Plan:
        """The same, with the cameras *off* disabled, be it all of them."""
        return replace(
            self,
            cameras={name: None if name in off else camera for name, camera in self.cameras.items()},
            rules={name: rule for name, rule in self.rules.items() if name not in off},
        )


def plan_for(settings: Settings, manifests: Mapping[str, Manifest]) -> Plan:
    """What *settings* ask for with these models.

    :param manifests: of the models that run, by their bundle's folder.
    :raises ConfigError: they do not fit, no camera is enabled, or a camera's password can't be read.
    """
    cameras = {name: _camera(name, camera) if camera.enabled else None for name, camera in settings.cameras.items()}
    if not any(cameras.values()):
        raise ConfigError("every camera is disabled: set enabled: true for one at least")
    rules = rules_for(settings, manifests)
    models = {
        bundle: _suppression(settings, manifest, [rule for rule in rules.values() if rule.bundle == bundle])
        for bundle, manifest in manifests.items()
        if manifest.head != CLASSIFIER
    }
    return Plan(cameras, rules, models, _collection(settings.calibration))


def _suppression(settings: Settings, manifest: Manifest, rules: Sequence[Rule]) -> Suppression:
    lowest = min((rule.tracked_score for rule in rules), default=1.0)
    return Suppression(lowest, settings.nms_iou or manifest.output.nms_iou, settings.max_objects)


def _camera(name: str, camera: CameraSettings) -> CameraPlan:
    try:
        return CameraPlan(
            *(camera.address(), camera.max_fps, camera.pace, camera.loop, camera.decoder, camera.codec, camera.rotate),
            *(camera.decoding, camera.frozen_after_s),
        )
    except ConfigError as error:
        raise ConfigError(f"cameras.{name}.{error}") from error


def _collection(wanted: CalibrationSettings) -> Optional[Collection]:
    if not wanted.enabled:
        return None
    max_age_s = wanted.max_age_days * 86400.0
    return Collection(wanted.folder, wanted.max_frames, wanted.max_mb << 20, max_age_s, wanted.interval_s)
