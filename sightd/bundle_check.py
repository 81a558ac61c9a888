"""Whether a bundle does on this machine what it is for: it fits, is whole, loads, and finds what it found before."""

from __future__ import annotations

import logging
import platform
from typing import Optional

import numpy as np

from .bundle import Bundle
from .engine_fit import check_fits
from .engines import Engine, EngineOptions, open_engine, versions_here
from .errors import BundleError
from .golden import Golden, check_golden, look, read_golden
from .types import Image

__all__ = ["check_runs", "open_checked"]

_log = logging.getLogger(__name__)


def open_checked(bundle: Bundle, options: EngineOptions) -> Engine:
    """Open the engine of *bundle* as open_engine does, after and before all that can tell it from a wrong one.

    What is loaded is what was hashed; what the engine finds on its golden picture is compared. Where that
    picture is lost the engine runs unchecked, and the log says so: its file is the right one all the same.

    :raises BundleError: its file is missing, altered or damaged.
    :raises EngineMismatch: it was built for another machine, or computes something else on this one.
    :raises EngineError: it does not load or fails.
    """
    record = bundle.manifest.engine
    check_fits(bundle.folder, record, versions_here(record.kind), platform.machine())
    engine = open_engine(bundle, options)
    try:
        golden = _golden(bundle)
        if golden is not None:
            check_golden(engine, bundle, golden)
    except BaseException:
        engine.close()
        raise
    return engine


def check_runs(bundle: Bundle) -> None:
    """Open the engine of *bundle*, and its fallback, and infer one grey picture with each.

    :raises BundleError: what comes out is not what the manifest promises, or the golden picture is lost; else as
        :func:`open_checked`.
    """
    read_golden(bundle)
    picture = np.full((bundle.manifest.input.height, bundle.manifest.input.width, 3), 128, np.uint8)
    for one in (bundle, bundle.fallback):
        if one is not None:
            with open_checked(one, EngineOptions()) as engine:
                _check_output(one, engine, picture)


def _golden(bundle: Bundle) -> Optional[Golden]:
    try:
        golden = read_golden(bundle)
    except BundleError as error:
        _log.error("what the engine computes can't be checked: %s", error)
        return None
    if golden is None:
        _log.info("%s: has no golden picture, an older sightd made it; it is run unchecked", bundle.folder)
    return golden


def _check_output(bundle: Bundle, engine: Engine, picture: Image) -> None:
    found = look(engine, picture)
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise BundleError(f"{bundle.folder}: the engine's output is not finite on a grey picture: convert again")
    if found.classes.max(initial=0) >= len(bundle.manifest.labels):
        raise BundleError(f"{bundle.folder}: the engine knows more classes than there are labels: convert again")
