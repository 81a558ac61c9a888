"""Engines: one interface, one module an engine kind, loaded only when a bundle asks for it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Dict

from ..bundle import Bundle, read_engine_file
from ..errors import EngineError, EngineMismatch
from ..types import InputSpec
from .base import Engine, EngineOptions, Slot, Ticket

__all__ = ["Engine", "EngineOptions", "Slot", "Ticket", "load_engine", "open_engine", "versions_here"]

#: Engine kind, as the manifest has it -> module of this package with ``load(file, spec, max_batch, options, content)``.
_MODULES = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt"}


def open_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """Load the engine of a bundle: those bytes that the manifest describes. Call it on the thread that will use it.

    :raises BundleError: its file is missing, altered or damaged.
    :raises EngineError: unknown kind, its library is missing, or it does not load on this machine.
    """
    manifest = bundle.manifest
    largest = manifest.profile.max
    max_batch = min(options.max_batch or largest, largest)
    content = read_engine_file(bundle.folder, manifest.engine)
    engine: Engine = _module(manifest.engine.kind).load(bundle.engine_file, manifest.input, max_batch, options, content)
    return engine


def load_engine(kind: str, file: Path, spec: InputSpec, max_batch: int, options: EngineOptions) -> Engine:
    """Load an engine file that is in no bundle yet; for the converter, which has just built it.

    :raises EngineError: as :func:`open_engine`.
    """
    engine: Engine = _module(kind).load(file, spec, max_batch, options)
    return engine


def versions_here(kind: str) -> Dict[str, str]:
    """The versions here of what engines of *kind* are built for, named as in EngineRecord; {}: of nothing.

    :raises EngineMismatch: the library that runs them can't be imported here.
    :raises EngineError: unknown kind, or the machine does not tell.
    """
    ask = getattr(_module(kind), "versions", None)
    try:
        here: Dict[str, str] = ask() if ask else {}
    except EngineError as error:
        if isinstance(error.__cause__, ImportError):
            raise EngineMismatch(str(error)) from error
        raise
    return here


def _module(kind: str) -> ModuleType:
    if kind not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise EngineError(f"engine kind {kind!r} is not known to this sightd (known: {known})")
    return import_module(f"{__name__}.{_MODULES[kind]}")
