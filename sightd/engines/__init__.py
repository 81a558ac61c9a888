"""Engines: one interface, one module an engine kind, loaded only when a bundle asks for it."""

from __future__ import annotations

from importlib import import_module

from ..bundle import Bundle
from ..errors import EngineError
from .base import Engine, EngineOptions, Slot, Ticket

__all__ = ["Engine", "EngineOptions", "Slot", "Ticket", "open_engine"]

#: Manifest engine kind -> module of this package with ``open_bundle_engine(bundle, options) -> Engine``.
_MODULES = {"onnxruntime": "onnxruntime"}


def open_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """Load the bundle's engine. Call it on the thread that will use it.

    :raises EngineError: unknown kind, its library is missing, or it does not load on this machine.
    """
    kind = bundle.manifest.engine.kind
    if kind not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise EngineError(f"{bundle.folder}: engine kind {kind!r} is not known to this sightd (known: {known})")
    module = import_module(f"{__name__}.{_MODULES[kind]}")
    engine: Engine = module.open_bundle_engine(bundle, options)
    return engine
