"""Whether a bundle does on this machine what it is for: it fits, is whole, loads, and finds what it found before."""

from __future__ import annotations

import logging
import platform
from typing import Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .engine_fit import check_fits
from .engines import Engine, EngineOptions, open_engine, versions_here
from .errors import BundleError, naming
from .golden import Golden, check_golden, look, read_golden

__all__ = ["check_classes", "check_golden_classes", "check_runs", "open_checked"]

_log = logging.getLogger(__name__)

_UNCHECKED = "what the engine computes can't be checked: %s"


def open_checked(bundle: Bundle, options: EngineOptions) -> Engine:
    """Open the engine of *bundle* as open_engine does, after and before all that can tell it from a wrong one.

    What is loaded is what was hashed; what the engine finds on its golden picture is compared. Where that
    picture is lost the engine runs unchecked, and the log says so: its file is the right one all the same.

    :raises BundleError: its file is missing, altered or damaged, or finds what the manifest has no label for.
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
            engine.known = golden.pixels
        _check_output(bundle, engine, works=golden is not None)
    except BaseException:
        engine.close()
        raise
    return engine


def check_runs(bundle: Bundle) -> None:
    """Open the engine of *bundle*, and its fallback, and close them.

    :raises BundleError: the golden picture is lost; else as :func:`open_checked`.
    """
    read_golden(bundle)
    for one in (bundle, bundle.fallback):
        if one is not None:
            open_checked(one, EngineOptions()).close()


def check_golden_classes(bundle: Bundle) -> None:
    """Whether all that was found on the golden picture has a label; what can be told without the engine.

    Where that picture is lost the log says so, and no more: the bundle is served all the same.

    :raises BundleError: it has not.
    """
    try:
        golden = read_golden(bundle)
    except BundleError as error:
        _log.error(_UNCHECKED, error)
        return
    if golden is not None:
        check_classes(str(bundle.folder), golden.found.classes, bundle.manifest.labels)


def check_classes(bundle: str, classes: NDArray[np.int32], labels: Sequence[str]) -> None:
    """Whether the *labels* of the manifest are enough for the *classes* that the engine has found.

    :raises BundleError: they are not.
    """
    highest = int(classes.max(initial=-1))
    if highest >= len(labels):
        raise BundleError(
            f"{bundle}: the engine finds class {highest}, counted from 0, but its manifest has {len(labels)} labels: "
            "they are not this model's; convert it again with a label for each class (--labels)"
        )


def _golden(bundle: Bundle) -> Optional[Golden]:
    try:
        golden = read_golden(bundle)
    except BundleError as error:
        _log.error(_UNCHECKED, error)
        return None
    if golden is None:
        _log.info("%s: has no golden picture, an older sightd made it; it is run unchecked", bundle.folder)
    return golden


def _check_output(bundle: Bundle, engine: Engine, *, works: bool) -> None:
    """Infer one black picture, as warming up does.

    :param works: the golden picture has shown that it does: one that divides by a picture's contrast may fail on black.
    """
    spec = bundle.manifest.input
    with naming(str(bundle.folder)):
        found = look(engine, np.zeros((spec.height, spec.width, 3), np.uint8))
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        trouble = f"{bundle.folder}: the engine's output is not finite on a black picture"
        if not works:
            raise BundleError(f"{trouble}: convert again")
        _log.warning("%s: nothing is found on such", trouble)
    check_classes(str(bundle.folder), found.classes, bundle.manifest.labels)
