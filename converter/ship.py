"""Ships a conversion: the manifest that explains the engine, one annotated picture, the report, the bundle."""

from __future__ import annotations

import resource
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import cv2
import numpy as np

from sightd import __version__
from sightd.annotate import annotated
from sightd.bundle import Bundle, sha256_of
from sightd.bundle_versions import publish
from sightd.engines import EngineOptions, load_engine
from sightd.errors import BundleError
from sightd.golden import GOLDEN, look, write_golden
from sightd.manifest import Manifest
from sightd.resize import resize_into

from .builders.base import Builder, Built
from .builders.onnxruntime import OnnxRuntimeBuilder
from .calibration.frames import Frames
from .evidence import Evidence
from .model.finish import FinishedModel
from .report import write_report
from .request import GIVEN_MODEL, recorded
from .search import Trial
from .workshop import Workshop

__all__ = ["ship"]

#: Builds what runs on any machine.
_FALLBACK = OnnxRuntimeBuilder()
#: What an upgrade does not change: INT8 on the CPU may round otherwise in another release, float does not.
_LASTING = (_FALLBACK.kind, _FALLBACK.floats[0])


def ship(out: Path, folder: Path, evidence: Evidence, workshop: Workshop, builder: Builder) -> Bundle:
    """Write the bundle to *out*; *folder* is for what is made on the way.

    :raises BundleError: it can't be written; a bundle that was there stays.
    """
    shipped = evidence.verdict.shipped
    built = workshop.built[shipped.recipe] if shipped else evidence.floats.yardstick.built
    fallback = None if (builder.kind, built.precision) == _LASTING else _fallback(folder, evidence.finished)
    engines = {built.file: builder.kind, **({fallback.file: _FALLBACK.kind} if fallback else {})}
    picture = folder / "annotated.jpg"
    _draw(picture, builder.kind, built.file, evidence)
    manifest = _manifest(evidence, workshop, builder, built, fallback)
    extras = {
        **workshop.extras,
        **builder.extras(),
        GIVEN_MODEL: evidence.given.file,
        picture.name: picture,
        GOLDEN: _golden(folder / GOLDEN, engines, evidence),
        **write_report(folder, built.file, evidence, workshop, manifest),
    }
    return publish(out, built.file, manifest, extras, fallback.file if fallback else None)


def _fallback(folder: Path, finished: FinishedModel) -> Built:
    """The float engine for any CPU, beside one that an upgrade may make useless."""
    return _FALLBACK.build_float(finished.model, _FALLBACK.floats[0], folder / f"fallback{_FALLBACK.suffix}")


def _manifest(
    evidence: Evidence, workshop: Workshop, builder: Builder, built: Built, fallback: Optional[Built]
) -> Manifest:
    finished, verdict = evidence.finished, evidence.verdict
    shipped = verdict.shipped
    return Manifest(
        engine=builder.record(built),
        model=evidence.given.record,
        head=finished.head.family,
        input=finished.spec,
        labels=finished.labels,
        output=evidence.gate.output,
        profile=evidence.profile,
        sightd_version=__version__,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        verdict=verdict.sentence,
        calibration=_calibration(shipped, evidence.frames, workshop) if shipped else None,
        agreement={
            "outcome": verdict.outcome.name.lower(),
            **verdict.agreement.as_dict(),
            "noise": {name: agreement.as_dict() for name, agreement in evidence.noise.items()},
            "labelled": {name: measured.as_dict() for name, measured in evidence.labelled.items()},
            "trials": [_row(trial, workshop.built.get(trial.recipe)) for trial in evidence.trials],
            "yardstick": evidence.floats.yardstick.built.precision,
            "notes": evidence.notes,
        },
        latency=workshop.latency[verdict.trial.recipe] if verdict.trial else {},
        build={"seconds": round(evidence.seconds, 1), "peak_rss_mb": _peak_rss_mb(), **_built(built)},
        fallback=_FALLBACK.record(fallback) if fallback else None,
        request=recorded(replace(evidence.request, engine=builder.kind), finished.labels),
    )


def _built(built: Built) -> Dict[str, Any]:
    """What building the engine that is shipped took, where that is worth a word."""
    if not built.seconds:
        return {}
    told = {"seconds": round(built.seconds, 1), "peak_rss_mb": round(built.peak_rss_mb, 1), "notes": list(built.notes)}
    return {"engine": told}


def _calibration(shipped: Trial, frames: Frames, workshop: Workshop) -> Dict[str, Any]:
    recipe = shipped.recipe
    return {
        "algorithm": recipe.algorithm,
        "scope": recipe.scope,
        "frames": len(frames.calibration),
        "holdout": shipped.agreement.frames,
        "sha256": frames.sha256,
        "seed": frames.seed,
        "coverage": frames.coverage.as_dict() if frames.coverage else None,
        "float_layers": workshop.float_layers(recipe),
        "head": recipe.head,
        "silent_tensors": workshop.silent_tensors(),
    }


def _row(trial: Trial, built: Optional[Built]) -> Dict[str, Any]:
    recipe, agreement = trial.recipe, trial.agreement
    row = {
        "algorithm": recipe.algorithm,
        "scope": recipe.scope,
        "float_layers": recipe.float_layers,
        "head": recipe.head,
    }
    if built is None:
        return {**row, "verdict": agreement.verdict, "reason": agreement.reason}
    figures = {key: value for key, value in agreement.as_dict().items() if not isinstance(value, (dict, list))}
    found = {"layers": dict(built.layers)} if built.layers else {}
    return {**row, "speedup": round(trial.speedup, 3), **figures, **found, **_built(built)}


def _draw(picture: Path, kind: str, file: Path, evidence: Evidence) -> None:
    """What the shipped engine finds on the hold-out frame where the reference finds most."""
    image = evidence.gate.busiest()
    found = evidence.gate.look(kind, file, [image])[0]
    if not cv2.imwrite(str(picture), annotated(image, found, evidence.finished.labels)):
        raise BundleError(f"{picture}: the annotated picture can't be written; is the disk full?")


def _golden(file: Path, engines: Mapping[Path, str], evidence: Evidence) -> Path:
    """Write what each of *engines* (file -> kind) finds on that frame, for those who will load them."""
    spec = evidence.finished.spec
    pixels = np.empty((spec.height, spec.width, 3), np.uint8)
    resize_into(pixels, evidence.gate.busiest(), spec)
    found = {}
    for engine_file, kind in engines.items():
        with load_engine(kind, engine_file, spec, 1, EngineOptions()) as engine:
            found[sha256_of(engine_file)] = look(engine, pixels)
    write_golden(file, pixels, found)
    return file


def _peak_rss_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
