from __future__ import annotations

import pytest

from daemon.topics import Topics
from sightd.errors import ConfigError


def test_topics_lie_below_the_prefix() -> None:
    topics = Topics("sightd/porch")
    assert (topics.available, topics.info, topics.stats) == (
        "sightd/porch/available",
        "sightd/porch/info",
        "sightd/porch/stats",
    )
    assert topics.status("gate") == "sightd/porch/gate/status"
    assert topics.detections("gate") == "sightd/porch/gate/detections"
    assert topics.events("gate") == "sightd/porch/gate/events"


@pytest.mark.parametrize(
    ("label", "level"),
    [
        ("person", "person"),
        ("Traffic Light", "traffic_light"),
        ("a/b+c#d", "a_b_c_d"),
        ("$SYS", "sys"),
        ("Lkw (groß)", "lkw_groß"),
        ("грузовик", "грузовик"),
        ("???", "other"),
    ],
)
def test_any_label_can_be_part_of_a_topic(label: str, level: str) -> None:
    assert Topics("p").objects("gate", label) == f"p/gate/objects/{level}"


@pytest.mark.parametrize("prefix", ["", "/", "/sightd", "sightd/", "a//b", "a/+", "#", "a#b", "$SYS/a", "a\0b", "a\nb"])
def test_a_prefix_that_mqtt_would_misread_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="MQTT prefix"):
        Topics(prefix)


@pytest.mark.parametrize("camera", ["", "a/b", "+", "#", "yard#1", "$cam", "a\0", "a\n", "\ud800"])
def test_a_camera_name_that_mqtt_would_misread_is_refused(camera: str) -> None:
    topics = Topics("sightd/porch")
    with pytest.raises(ConfigError, match="camera name"):
        topics.status(camera)
    with pytest.raises(ConfigError, match="camera name"):
        topics.detections(camera)


@pytest.mark.parametrize("camera", ["available", "info", "stats"])
def test_a_camera_may_not_be_named_like_a_topic_of_ours(camera: str) -> None:
    with pytest.raises(ConfigError, match="reserved"):
        Topics("sightd/porch").detections(camera)


def test_spaces_and_other_alphabets_are_fine() -> None:
    assert Topics("sightd/Büro 2").status("входная дверь") == "sightd/Büro 2/входная дверь/status"
