"""Whether a bundle does on this machine what it is for: checked, loaded, and run on one picture."""

from __future__ import annotations

import platform

import numpy as np

from .bundle import Bundle
from .engines import EngineOptions, open_engine
from .errors import BundleError

__all__ = ["check_runs"]


def check_runs(bundle: Bundle) -> None:
    """Load the engine of a checked *bundle* and infer one grey picture.

    :raises BundleError: it was made for another processor, or what comes out is not what the manifest promises.
    :raises EngineError: it does not load or fails here.
    """
    manifest = bundle.manifest
    made_for = manifest.engine.machine
    if made_for and made_for != platform.machine():
        raise BundleError(f"{bundle.folder}: made for {made_for}, this machine is {platform.machine()}: convert here")
    picture = np.full((manifest.input.height, manifest.input.width, 3), 128, np.uint8)
    with open_engine(bundle, EngineOptions()) as engine:
        slot = engine.slot()
        slot.put(0, picture)
        found = engine.submit(slot, 1).result()
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise BundleError(f"{bundle.folder}: the engine's output is not finite on a grey picture: convert again")
    if found.classes.max(initial=0) >= len(manifest.labels):
        raise BundleError(f"{bundle.folder}: the engine knows more classes than there are labels: convert again")
