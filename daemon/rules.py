"""What becomes of each camera's frames: whose model looks at them, what of it is reported, what is looked at closer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from sightd.errors import ConfigError
from sightd.manifest import CLASSIFIER, Manifest
from sightd.settings import ClassifierSettings, EventSettings, Settings
from sightd.types import Detections

if TYPE_CHECKING:
    from sightd.masks import Polygon  # brings OpenCV, and the doctor runs where that is broken

__all__ = ["ClassifierRule", "EventRule", "Rule", "rules_for"]

#: Boxes of this share of what a camera reports are followed too: they go on with an object that was already there.
_TRACKED_SHARE = 0.5
#: So many frames at a camera's rate must fit into the time that an object may be lost for.
_LOST_FRAMES = 3


@dataclass(frozen=True)
class ClassifierRule:
    """Which of one camera's objects a classifier looks at."""

    #: Its name in the settings.
    name: str
    #: Its bundle's folder.
    bundle: str
    #: Class indices of the camera's own model; None: all.
    classes: Optional[FrozenSet[int]] = None
    min_score: float = 0.5
    #: Pixels of the object's shorter side.
    min_size: int = 24
    max_per_frame: int = 8


@dataclass(frozen=True)
class EventRule:
    """When the objects of a camera become events."""

    enabled: bool = True
    #: An object that is seen for less is no event.
    min_duration_s: float = 0.5
    #: One that is not seen for longer is gone.
    lost_after_s: float = 3.0
    #: From what was told of an object to its next update, at least.
    update_interval_s: float = 5.0


@dataclass(frozen=True)
class Rule:
    """What becomes of one camera's frames."""

    min_score: float
    #: Class indices; None reports all.
    classes: Optional[FrozenSet[int]] = None
    #: Painted over in the frames that are kept.
    masks: Tuple[Polygon, ...] = ()
    #: Folder of the bundle whose model looks at them.
    bundle: str = ""
    classifiers: Tuple[ClassifierRule, ...] = ()
    events: EventRule = EventRule()

    @property
    def tracked_score(self) -> float:
        """The lowest score that is of use to the camera's tracker."""
        return self.min_score * _TRACKED_SHARE

    def reported(self, labels: Sequence[str]) -> List[str]:
        """Those of its model's *labels* that this camera reports."""
        return [label for index, label in enumerate(labels) if self.classes is None or index in self.classes]

    def applied(self, found: Detections) -> Detections:
        """Those of *found* that this camera reports."""
        return self._kept(found, self.min_score)

    def tracked(self, found: Detections) -> Detections:
        """Those of *found* that its tracker is given: what is reported, and what scores a little less."""
        return self._kept(found, self.tracked_score)

    def _kept(self, found: Detections, min_score: float) -> Detections:
        keep = found.scores >= min_score
        if self.classes is not None:
            keep &= np.array([index in self.classes for index in found.classes.tolist()], bool)
        return found.where(keep)


def rules_for(settings: Settings, manifests: Mapping[str, Manifest]) -> Dict[str, Rule]:
    """The rule of every enabled camera, checked against the models.

    :param manifests: of the models that run, by their bundle's folder.
    :raises ConfigError: the settings do not fit the models, or ask for one that does not run.
    """
    detectors = {
        name: _manifest(settings.bundle_of(name), manifests, f"cameras.{name}.bundle")
        for name, camera in settings.cameras.items()
        if camera.enabled
    }
    for name, manifest in detectors.items():
        if manifest.head == CLASSIFIER:
            raise ConfigError(
                f"cameras.{name}.bundle: the model in {settings.bundle_of(name)} is a classifier; "
                "name it in the section classifiers instead"
            )
    for name, classifier in settings.classifiers.items():
        bundle = settings.classifier_bundle(name)
        if _manifest(bundle, manifests, f"classifiers.{name}.bundle").head != CLASSIFIER:
            raise ConfigError(
                f"classifiers.{name}.bundle: the model in {bundle} is a detector; "
                "convert a classifier for it (docs/several-models.md)"
            )
        _check_objects(name, classifier, detectors)
    return {name: _rule(settings, name, manifest) for name, manifest in detectors.items()}


def _rule(settings: Settings, name: str, manifest: Manifest) -> Rule:
    camera, bundle = settings.cameras[name], settings.bundle_of(name)
    return Rule(
        min_score=manifest.output.min_score if camera.min_score is None else camera.min_score,
        classes=_reported(camera.labels, manifest.labels, f"cameras.{name}.labels: the model in {bundle}"),
        masks=tuple(camera.masks),
        bundle=bundle,
        classifiers=tuple(
            _classifier_rule(classifier, settings.classifier_bundle(key), key, manifest.labels)
            for key, classifier in settings.classifiers.items()
            if classifier.cameras is None or name in classifier.cameras
        ),
        events=_event_rule(settings.events, camera.max_fps),
    )


def _event_rule(wanted: EventSettings, max_fps: float) -> EventRule:
    """*wanted* for a camera of that rate; 0 is as fast as it can."""
    lost_after_s = max(wanted.lost_after_s, _LOST_FRAMES / max_fps if max_fps else 0.0)
    return EventRule(wanted.enabled, wanted.min_duration_s, lost_after_s, wanted.update_interval_s)


def _classifier_rule(wanted: ClassifierSettings, bundle: str, name: str, labels: Sequence[str]) -> ClassifierRule:
    classes = None
    if wanted.objects is not None:  # another camera's model may have those that this one lacks
        classes = _indices([label for label in wanted.objects if label in labels], labels)
    return ClassifierRule(name, bundle, classes, wanted.min_score, wanted.min_size, wanted.max_per_frame)


def _check_objects(name: str, wanted: ClassifierSettings, detectors: Mapping[str, Manifest]) -> None:
    """Every label that the classifier *name* is asked about is one of the model of a camera of its."""
    own = [manifest for camera, manifest in detectors.items() if wanted.cameras is None or camera in wanted.cameras]
    labels = list({label: None for manifest in own for label in manifest.labels})
    for label in wanted.objects or ():
        if own and label not in labels:
            hint = _hint(label, labels)
            raise ConfigError(f"classifiers.{name}.objects: no model of its cameras has the label {label!r}; {hint}")


def _manifest(bundle: str, manifests: Mapping[str, Manifest], key: str) -> Manifest:
    if bundle not in manifests:
        running = ", ".join(manifests)
        raise ConfigError(f"{key}: the model in {bundle} is not loaded ({running}); restart the service to load it")
    return manifests[bundle]


def _reported(wanted: Optional[List[str]], labels: Sequence[str], who: str) -> Optional[FrozenSet[int]]:
    """The indices of the *wanted* labels; None stands for all."""
    if wanted is None:
        return None
    for label in wanted:
        if label not in labels:
            raise ConfigError(f"{who} has no label {label!r}; {_hint(label, labels)}")
    return _indices(wanted, labels)


def _indices(wanted: Sequence[str], labels: Sequence[str]) -> FrozenSet[int]:
    return frozenset(labels.index(label) for label in wanted)


def _hint(label: str, labels: Sequence[str]) -> str:
    close = difflib.get_close_matches(label, labels, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(labels)}"
