"""Which model looks at which camera, and which of their wishes do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from daemon.plan import Suppression, plan_for
from daemon.rules import CLASSIFIER, ClassifierRule, EventRule, Rule, rules_for
from sightd.errors import ConfigError
from sightd.manifest import Manifest, OutputSpec
from sightd.settings import Settings, parse_settings
from sightd.types import Detections
from tests.parts.daemon import MANIFEST

BIRDS = replace(MANIFEST, labels=["crow", "gull"], output=OutputSpec(nms_iou=0.3, min_score=0.4))
KINDS = replace(MANIFEST, labels=["van", "suv"], head=CLASSIFIER)
MANIFESTS = {"/b/default": MANIFEST, "/b/birds": BIRDS, "/b/kinds": KINDS}
CAMERAS = "bundle: /b/default\ncameras: {yard: {url: rtsp://h/1}, roof: {url: rtsp://h/2, bundle: /b/birds}}\n"


def settings(text: str) -> Settings:
    return parse_settings(text.encode(), Path("/etc/sightd/sightd.yaml"))


def rules(text: str, manifests: Dict[str, Manifest] = MANIFESTS) -> Dict[str, Rule]:
    return rules_for(settings(text), manifests)


def test_each_camera_follows_its_own_model_in_all_that_a_model_says() -> None:
    plan = plan_for(settings(CAMERAS), MANIFESTS)
    assert plan.rules == {"yard": Rule(0.25, bundle="/b/default"), "roof": Rule(0.4, bundle="/b/birds")}
    assert plan.models == {
        "/b/default": Suppression(min_score=0.125, iou=0.6),
        "/b/birds": Suppression(min_score=0.2, iou=0.3),
    }


def test_a_model_whose_cameras_have_all_gone_over_to_another_reports_nothing() -> None:
    plan = plan_for(settings("cameras: {roof: {url: rtsp://h/2, bundle: /b/birds}}"), MANIFESTS)
    assert plan.models["/b/default"].min_score == 1.0


def test_the_default_for_all_cameras_gives_way_to_a_cameras_own() -> None:
    text = "camera_defaults: {bundle: /b/birds}\n" + CAMERAS.replace("h/1", "h/1, bundle: /b/default")
    found = rules(text)
    assert {name: rule.bundle for name, rule in found.items()} == {"yard": "/b/default", "roof": "/b/birds"}


def test_a_bundle_is_one_however_its_folder_is_written() -> None:
    text = "bundle: /b/default\ncameras: {a: {url: x.mp4}, b: {url: y.mp4, bundle: /b/x/../default/}}"
    assert settings(text).bundles == ["/b/default"]


def test_only_what_enabled_cameras_and_classifiers_need_is_loaded_the_settings_own_bundle_first() -> None:
    text = (
        "bundle: /b/default\nclassifiers: {kind: {bundle: /b/kinds}}\n"
        "cameras: {roof: {url: x.mp4, bundle: /b/birds}, yard: {url: y.mp4},"
        " spare: {url: z.mp4, bundle: /b/spare, enabled: false}}"
    )
    assert settings(text).bundles == ["/b/default", "/b/birds", "/b/kinds"]
    assert settings(text.replace("yard: {url: y.mp4}", "yard: {url: y.mp4, enabled: false}")).bundles[0] == "/b/birds"


def test_a_label_of_another_cameras_model_names_the_model_that_lacks_it() -> None:
    with pytest.raises(ConfigError, match=r"cameras.roof.labels: the model in /b/birds has no label 'person'; .*crow"):
        rules(CAMERAS.replace("/b/birds", "/b/birds, labels: [person]"))


def test_a_classifier_is_asked_about_those_objects_that_the_cameras_model_knows() -> None:
    found = rules(CAMERAS + "classifiers: {kind: {bundle: /b/kinds, objects: [car, crow], min_size: 9}}\n")
    assert found["yard"].classifiers == (ClassifierRule("kind", "/b/kinds", frozenset({1}), min_size=9),)
    assert found["roof"].classifiers == (ClassifierRule("kind", "/b/kinds", frozenset({0}), min_size=9),)


def test_a_classifier_without_objects_is_asked_about_all_and_with_cameras_about_theirs() -> None:
    found = rules(CAMERAS + "classifiers: {kind: {bundle: /b/kinds, cameras: [roof]}}\n")
    assert found["yard"].classifiers == ()
    assert found["roof"].classifiers == (ClassifierRule("kind", "/b/kinds"),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "kind: {bundle: /b/kinds, objects: [carr]}",
            "classifiers.kind.objects: no model .* 'carr'; did you mean 'car'",
        ),
        ("kind: {bundle: /b/kinds, objects: [car], cameras: [roof]}", "no model of its cameras has the label 'car'"),
        ("kind: {bundle: /b/birds}", "classifiers.kind.bundle: the model in /b/birds is a detector; convert"),
        ("kind: {bundle: /b/new}", "classifiers.kind.bundle: the model in /b/new is not loaded .* restart the service"),
    ],
)
def test_a_classifier_that_does_not_fit_is_an_error_with_its_key(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        rules(f"{CAMERAS}classifiers: {{{text}}}\n")


def test_a_camera_needs_a_detector_that_is_loaded() -> None:
    with pytest.raises(
        ConfigError, match=r"cameras.roof.bundle: the model in /b/kinds is a classifier; name it in the"
    ):
        rules(CAMERAS.replace("/b/birds", "/b/kinds"))
    with pytest.raises(ConfigError, match=r"cameras.roof.bundle: the model in /b/new is not loaded .*restart"):
        rules(CAMERAS.replace("/b/birds", "/b/new"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: {bundle: /b/k, cameras: [yrad]}", "there is no camera 'yrad'; did you mean 'yard'?"),
        ("kind: {bundle: /b/k}, make: {bundle: /b/./k}", "classifiers.make.bundle: is that of kind"),
        ("kind: {bundel: /b/k}", "did you mean 'bundle'"),
        ("Kind: {bundle: /b/k}", "a classifier's name is"),
        ("kind: {objects: [car]}", "classifiers.kind.bundle: is missing"),
    ],
)
def test_mistakes_in_the_section_itself_are_found_without_any_bundle(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(f"{CAMERAS}classifiers: {{{text}}}\n")
    assert complaint in str(error.value)
    assert "sightd.yaml:" in str(error.value)


def test_events_are_set_for_all_cameras_and_a_slow_one_loses_an_object_after_three_frames() -> None:
    slow = CAMERAS.replace("/b/birds", "/b/birds, max_fps: 0.5")
    found = rules(slow + "events: {min_duration_s: 1, lost_after_s: 2, update_interval_s: 9}\n")
    assert found["yard"].events == EventRule(True, 1.0, 2.0, 9.0)
    assert found["roof"].events == EventRule(True, 1.0, 6.0, 9.0)


def test_what_a_tracker_is_given_reaches_down_to_half_of_what_is_reported() -> None:
    boxes = np.zeros((5, 4), np.float32)
    found = Detections(boxes, np.array([0.9, 0.6, 0.5, 0.31, 0.29], np.float32), np.array([0, 1, 0, 0, 0], np.int32))
    rule = Rule(0.6, frozenset({0}))
    assert rule.applied(found).scores.tolist() == pytest.approx([0.9])
    assert rule.tracked(found).scores.tolist() == pytest.approx([0.9, 0.5, 0.31])
