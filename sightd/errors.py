"""Every error that sightd raises on purpose: one base, one class a layer.

A message says what is wrong *and* what to do about it; it never holds a password (see
:func:`sightd.redact.redact`). Only the command line turns an error into an exit code.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

__all__ = [
    "BuildError",
    "BundleError",
    "CalibrationError",
    "ConfigError",
    "DisagreementError",
    "EngineError",
    "EngineMismatch",
    "ModelError",
    "NoBundleError",
    "SightdError",
    "SourceError",
    "StalledError",
    "naming",
]


class SightdError(Exception):
    """The base of all errors below: something that the user can act on."""


class ConfigError(SightdError):
    """The configuration file can't be used; the message names file, line and key."""


class SourceError(SightdError):
    """A camera or a file can't be opened, or gave no usable frame in time."""


class StalledError(SourceError):
    """A camera is there, its connection stands, but no picture comes: it hangs."""


class BundleError(SightdError):
    """A bundle is missing, incomplete, altered, or not made for this machine."""


class NoBundleError(BundleError):
    """There is no bundle in its folder, yet."""


class EngineError(SightdError):
    """An engine can't be loaded or failed while running."""


class EngineMismatch(EngineError):  # noqa: N818 (it is one kind of EngineError)
    """The engine file is sound, but was built for another TensorRT or another GPU than these here."""


class ModelError(SightdError):
    """A model can't be read, exported or finished."""


class BuildError(ModelError):
    """An engine can't be built on this machine, in this way at least."""


class CalibrationError(SightdError):
    """A calibration set is empty, too small, damaged, or not of these cameras."""


class DisagreementError(SightdError):
    """The bundle was written, but with float: no INT8 engine could be shown to agree with the model."""


@contextmanager
def naming(whose: str) -> Iterator[None]:
    """An :class:`EngineError` on its way out says whose engine it was."""
    try:
        yield
    except EngineError as error:
        raise EngineError(f"{whose}: {error}") from error
