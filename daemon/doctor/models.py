"""Whether the models may be run, and can do what the settings ask of them: labels, classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from sightd.bundle import open_bundle
from sightd.bundle_trust import check_trusted
from sightd.errors import BundleError, ConfigError
from sightd.settings import Settings

from ..rules import rules_for
from .finding import Area, Finding
from .machine import Machine

__all__ = ["AREA", "check"]

AREA = Area("settings")


def check(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Silent where a bundle can't be read: the checks of the engines say that."""
    try:
        manifests = {bundle: open_bundle(machine.path(Path(bundle))).manifest for bundle in settings.bundles}
    except BundleError:
        return
    try:
        for bundle in settings.bundles:
            check_trusted(machine.path(Path(bundle)), [machine.path(folder) for folder in settings.bundle_folders])
        rules_for(settings, manifests)
    except (BundleError, ConfigError) as error:
        yield AREA.problem("models", str(error), "correct it, then: sightd check-config")
    else:
        yield AREA.ok("models", "every camera's labels are those of its model")
