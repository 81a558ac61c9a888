"""Which engine serves: the bundle's, or after an upgrade that it does not survive, the best that is at hand."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

from .bundle import Bundle
from .bundle_check import open_checked
from .bundle_versions import ancestors
from .engines import Engine, EngineOptions
from .errors import BundleError, EngineError, EngineMismatch
from .manifest import Manifest

__all__ = ["Serving", "open_serving"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """An engine that is open, and what it is."""

    engine: Engine
    #: Its ``engine`` is the record of the engine that is open; labels and output go with that.
    manifest: Manifest
    #: Why it is not the bundle's own, what it is instead, and the command that mends it; "" where it is.
    fallback_reason: str = ""


def open_serving(bundle: Bundle, options: EngineOptions) -> Serving:
    """Open the engine of *bundle*; where it does not belong to this machine (any more), another one in its place.

    That is the latest version before it, with the same labels, that runs here, else the bundle's own fallback. Call it
    on the thread that will use the engine. A damaged or altered engine is never served, and nothing in its place.

    :raises BundleError: the engine file is damaged or altered.
    :raises EngineMismatch: nor is there another one.
    :raises EngineError: the engine fails for another reason.
    """
    try:
        return Serving(open_checked(bundle, options), bundle.manifest)
    except EngineMismatch as mismatch:
        serving = _in_its_place(bundle, options, mismatch)
        if serving is None:
            raise
        _log.error("%s: %s", bundle.folder, serving.fallback_reason)
        return serving


def _in_its_place(bundle: Bundle, options: EngineOptions, mismatch: EngineMismatch) -> Optional[Serving]:
    for name, substitute in _substitutes(bundle):
        try:
            engine = open_checked(substitute, options)
        except (BundleError, EngineError) as error:
            _log.warning("%s can't serve in its place: %s", name, error)
            continue
        record = substitute.manifest.engine
        reason = f"{name} serves instead, {record.precision} on {record.kind}: {mismatch}"
        return Serving(engine, substitute.manifest, reason)
    return None


def _substitutes(bundle: Bundle) -> Iterator[Tuple[str, Bundle]]:
    """What could serve instead, the best first, each with its name."""
    for version in ancestors(bundle.folder):
        if version.bundle.manifest.labels == bundle.manifest.labels:
            yield f"the earlier version {version.name}", version.bundle
    if bundle.fallback is not None:
        yield "the bundle's fallback", bundle.fallback
