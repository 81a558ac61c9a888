from __future__ import annotations

from pathlib import Path
from typing import Tuple

import pytest

from daemon.messages import ConfigMessage
from daemon.plan import Plan, plan_for
from daemon.reload import merged, outcome
from sightd.settings import Settings, parse_settings
from tests.parts.daemon import MANIFEST

BASE = "cameras: {yard: {url: rtsp://u:canary@h/1}, gate: {url: rtsp://h/2}}\n"


def both(text: str) -> Tuple[Settings, Plan]:
    settings = parse_settings(text.encode(), Path("/etc/sightd/sightd.yaml"))
    return settings, plan_for(settings, dict.fromkeys(settings.bundles, MANIFEST))


def step(before: str, after: str) -> ConfigMessage:
    return outcome(both(before), both(after))


def test_the_same_settings_change_nothing() -> None:
    assert step(BASE, BASE).result == "unchanged"


def test_cameras_that_come_go_or_change_are_named() -> None:
    told = step(BASE, "cameras: {gate: {url: rtsp://h/2, min_score: 0.9}, barn: {url: rtsp://h/3}}")
    assert (told.result, told.added, told.removed, told.changed) == ("applied", ["barn"], ["yard"], ["gate"])
    assert told.restart_needed == []


@pytest.mark.parametrize("change", ["url: rtsp://u:other@h/1", "url: rtsp://u:canary@h/1, enabled: false"])
def test_another_password_or_a_camera_switched_off_is_a_change(change: str) -> None:
    assert step(BASE, f"cameras: {{yard: {{{change}}}, gate: {{url: rtsp://h/2}}}}").changed == ["yard"]


def test_a_default_for_all_changes_all_that_have_no_value_of_their_own() -> None:
    told = step(BASE, BASE + "camera_defaults: {labels: [car]}\n")
    assert told.changed == ["yard", "gate"]


@pytest.mark.parametrize("change", ["max_objects: 5", "nms_iou: 0.7", "stats_interval_s: 3", "log_level: debug"])
def test_thresholds_and_the_log_level_are_applied(change: str) -> None:
    told = step(BASE, BASE + change)
    assert (told.result, told.changed, told.restart_needed) == ("applied", [], [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "calibration: {enabled: true}"),
        ("calibration: {enabled: true}", "calibration: {enabled: true, folder: /elsewhere, max_age_days: 3}"),
    ],
)
def test_where_and_whether_frames_are_kept_is_applied(before: str, after: str) -> None:
    told = step(BASE + before, BASE + after)
    assert (told.result, told.changed, told.restart_needed) == ("applied", [], [])


def test_a_cameras_masks_are_applied() -> None:
    masked = BASE.replace("h/2", "h/2, masks: [[[0, 0], [1, 0], [1, 1]]]")
    told = step(BASE, masked)
    assert (told.result, told.changed) == ("applied", ["gate"])
    assert both(BASE)[1].cameras == both(masked)[1].cameras, "no camera is opened anew for it"


def test_a_camera_that_goes_over_to_another_model_is_changed_and_not_opened_anew() -> None:
    before = BASE.replace("h/2", "h/2, bundle: /b")
    after = before.replace("h/1", "h/1, bundle: /b")
    assert step(before, after).changed == ["yard"]
    assert both(before)[1].cameras == both(after)[1].cameras


def test_another_bundle_for_all_waits_for_a_restart() -> None:
    told = step(BASE, "bundle: /other\n" + BASE)
    assert told.restart_needed == ["bundle"]
    running = merged(both(BASE)[0], both("bundle: /other\n" + BASE)[0])
    assert running.bundles == ["/opt/sightd/bundles/default"]


def test_what_needs_a_restart_is_named_by_its_key_and_not_applied() -> None:
    after = BASE + "node: barn\nmqtt: {host: other, username: me, password: canary}\nengine: {threads: 1}\n"
    told = step(BASE, after)
    assert told.result == "unchanged"
    assert told.restart_needed == ["node", "mqtt.host", "mqtt.username", "mqtt.password", "engine.threads"]
    running = merged(both(BASE)[0], both(after)[0])
    assert running == both(BASE)[0]


def test_what_is_told_holds_no_password() -> None:
    assert "canary" not in repr(step(BASE, BASE.replace("canary", "canary2") + "mqtt: {host: x}"))
