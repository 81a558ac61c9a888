from __future__ import annotations

from pathlib import Path

import pytest

from daemon.plan import CameraPlan, Collection, Plan, Suppression, plan_for
from daemon.rules import Rule
from sightd.errors import ConfigError
from sightd.settings import parse_settings
from tests.parts.daemon import MANIFEST

DEFAULT = "/opt/sightd/bundles/default"


def planned(text: str) -> Plan:
    return plan_for(parse_settings(text.encode(), Path("/etc/sightd/sightd.yaml")), {DEFAULT: MANIFEST})


def test_what_the_settings_leave_open_is_the_models() -> None:
    plan = planned("cameras: {yard: {url: rtsp://h/1}}")
    assert plan.rules == {"yard": Rule(0.25, None, bundle=DEFAULT)}
    assert plan.models == {DEFAULT: Suppression(min_score=0.125, iou=0.6, max_objects=100)}


def test_each_camera_has_its_own_rule_and_the_lowest_score_is_of_use_to_one_of_them() -> None:
    plan = planned(
        "nms_iou: 0.3\ncameras:\n  yard: {url: rtsp://h/1, labels: [dog, person], min_score: 0.5}\n"
        "  gate: {url: rtsp://h/2, max_fps: 5, min_score: 0.1}\n"
    )
    assert plan.rules == {
        "yard": Rule(0.5, frozenset({0, 2}), bundle=DEFAULT),
        "gate": Rule(0.1, bundle=DEFAULT),
    }
    assert plan.models == {DEFAULT: Suppression(min_score=0.05, iou=0.3)}, "the trackers use what scores half as well"
    assert plan.cameras["gate"] == CameraPlan("rtsp://h/2", 5.0, "live", True)


def test_how_a_camera_is_read_is_part_of_its_plan() -> None:
    turned = planned("cameras: {yard: {url: rtsp://h/1, rotate: 90, decoder: gstreamer, codec: h265}}")
    plan = CameraPlan("rtsp://h/1", 10.0, "live", True, decoder="gstreamer", codec="h265", rotate=90)
    assert turned.cameras["yard"] == plan
    assert turned.cameras != planned("cameras: {yard: {url: rtsp://h/1}}").cameras, "so a reload opens it anew"


def test_a_disabled_camera_is_known_and_has_no_rule() -> None:
    plan = planned("cameras: {yard: {url: rtsp://h/1}, spare: {url: rtsp://h/2, enabled: false}}")
    assert plan.cameras["spare"] is None
    assert list(plan.rules) == ["yard"]


def test_with_every_camera_disabled_there_is_nothing_to_do() -> None:
    with pytest.raises(ConfigError, match="every camera is disabled"):
        planned("cameras: {yard: {url: rtsp://h/1, enabled: false}}")


@pytest.mark.parametrize(
    ("wrong", "hint"), [("persom", "did you mean 'person'"), ("zebra", "there are: person, car, dog")]
)
def test_a_label_that_the_model_does_not_have_is_an_error_with_a_hint(wrong: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"cameras.yard.labels.*{hint}"):
        planned(f"cameras: {{yard: {{url: rtsp://h/1, labels: [{wrong}]}}}}")


def test_an_address_is_not_shown_with_the_plan() -> None:
    assert "canary" not in repr(planned("cameras: {yard: {url: 'rtsp://u:canary@h/1'}}"))


def test_frames_are_kept_only_when_asked_for_and_masked_camera_by_camera() -> None:
    assert planned("cameras: {yard: {url: rtsp://h/1}}").collection is None
    plan = planned(
        "calibration: {enabled: true, folder: /k, max_frames: 9, max_mb: 2, max_age_days: 3, interval_s: 5}\n"
        "cameras: {yard: {url: rtsp://h/1, masks: [[[0, 0], [1, 0], [1, 1]]]}, gate: {url: rtsp://h/2}}"
    )
    assert plan.collection == Collection(Path("/k"), 9, 2 << 20, 3 * 86_400, 5)
    assert plan.rules["yard"].masks == (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),)
    assert plan.rules["gate"].masks == ()
