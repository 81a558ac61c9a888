"""Whether the models may be run, and can do what the settings ask of them: labels, classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from sightd.bundle import open_bundle
from sightd.bundle_trust import check_place, check_trusted
from sightd.errors import BundleError, ConfigError
from sightd.settings import Settings

from ..rules import rules_for
from .finding import Area, Finding
from .machine import Machine

__all__ = ["AREA", "check"]

AREA = Area("settings")


def check(machine: Machine, settings: Settings) -> Iterator[Finding]:
    """Silent where a bundle can't be read: the checks of the engines say that."""
    folders = {bundle: machine.path(Path(bundle)) for bundle in settings.bundles}
    allowed = [machine.path(folder) for folder in settings.bundle_folders]
    try:
        for folder in folders.values():
            check_place(folder, allowed)
        try:
            manifests = {bundle: open_bundle(folder).manifest for bundle, folder in folders.items()}
        except BundleError:
            return
        for folder in folders.values():
            check_trusted(folder, allowed)
        rules_for(settings, manifests)
    except (BundleError, ConfigError) as error:
        yield AREA.problem("models", str(error), "correct it, then: sightd check-config")
    else:
        yield AREA.ok("models", "every camera's labels are those of its model")
