"""`sightd convert --rebuild`: a bundle made anew as it was made, on this machine as it is now, after an upgrade say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Collection

from sightd.bundle import Bundle, open_bundle, sha256_of
from sightd.errors import BundleError, CalibrationError

from .request import GIVEN_MODEL, Request, restored

__all__ = ["repeated"]

_AGAIN = "convert the model itself with: sightd convert MODEL --calibration DIR --out BUNDLE"


def repeated(folder: Path, asked: Request, given: Collection[str]) -> Request:
    """The request that the bundle in *folder* came from, with those fields of *asked* that are named in *given*.

    :param given: "min_score" is that of the thresholds.
    :raises BundleError: there is no bundle, or the model in it is missing or another one.
    :raises CalibrationError: its frames are gone.
    """
    bundle = open_bundle(folder)
    _check_model(bundle)
    fields = {name: getattr(asked, name) for name in given if name != "min_score"}
    request = replace(restored(bundle), command=asked.command, **fields)
    if "min_score" in given:
        limits = replace(request.thresholds, min_score=asked.thresholds.min_score)
        request = replace(request, thresholds=limits)
    if "engine" in given and "trt" not in given:
        request = replace(request, trt={})
    if "labels" in given:
        request = replace(request, names=())
    if not request.calibration.is_dir():
        raise CalibrationError(
            f"{request.calibration}: the frames that {folder} was made from are gone, and without frames no engine can "
            "be judged: give others by --calibration DIR (sightd capture keeps some)"
        )
    return request


def _check_model(bundle: Bundle) -> None:
    file = bundle.folder / GIVEN_MODEL
    if not file.is_file():
        raise BundleError(f"{bundle.folder}: there is no {GIVEN_MODEL} in it, an older sightd made it: {_AGAIN}")
    if sha256_of(file) != bundle.manifest.model.onnx_sha256:
        raise BundleError(f"{file}: not the model that the manifest describes, altered or damaged: {_AGAIN}")
