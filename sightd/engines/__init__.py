"""Engines: one interface, one module an engine kind, loaded only when a bundle asks for it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..bundle import Bundle
from ..errors import EngineError
from ..types import InputSpec
from .base import Engine, EngineOptions, Slot, Ticket

__all__ = ["Engine", "EngineOptions", "Slot", "Ticket", "load_engine", "open_engine"]

#: Engine kind, as the manifest has it -> module of this package with ``load(file, spec, max_batch, options)``.
_MODULES = {"onnxruntime": "onnxruntime"}


def open_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """Load the engine of a checked bundle. Call it on the thread that will use it.

    :raises EngineError: unknown kind, its library is missing, or it does not load on this machine.
    """
    manifest = bundle.manifest
    largest = manifest.profile.max
    max_batch = min(options.max_batch or largest, largest)
    return load_engine(manifest.engine.kind, bundle.engine_file, manifest.input, max_batch, options)


def load_engine(kind: str, file: Path, spec: InputSpec, max_batch: int, options: EngineOptions) -> Engine:
    """Load an engine file that is in no bundle yet; for the converter, which has just built it.

    :raises EngineError: as :func:`open_engine`.
    """
    if kind not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise EngineError(f"{file}: engine kind {kind!r} is not known to this sightd (known: {known})")
    module = import_module(f"{__name__}.{_MODULES[kind]}")
    engine: Engine = module.load(file, spec, max_batch, options)
    return engine
