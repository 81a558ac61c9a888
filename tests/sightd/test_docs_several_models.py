"""docs/several-models.md: its examples are settings."""

from __future__ import annotations

import re
from pathlib import Path

from sightd.settings import ClassifierSettings, parse_settings

PAGE = Path(__file__).parents[2] / "docs" / "several-models.md"


def test_its_examples_are_valid_and_name_every_key_of_a_classifier() -> None:
    cameras, classifiers = re.findall("```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    settings = parse_settings(cameras.encode(), Path("/etc/sightd/sightd.yaml"))
    assert settings.bundles == ["/opt/sightd/bundles/street", "/opt/sightd/bundles/birds"]
    (vehicles,) = parse_settings(classifiers.encode(), Path("/etc/sightd/sightd.yaml")).classifiers.values()
    assert vehicles.model_fields_set == set(ClassifierSettings.model_fields)
    defaults = ClassifierSettings(bundle="/b")
    assert (vehicles.min_score, vehicles.min_size, vehicles.max_per_frame) == (
        defaults.min_score,
        defaults.min_size,
        defaults.max_per_frame,
    )
