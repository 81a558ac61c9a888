"""Ships a conversion: the manifest that explains the engine, one annotated picture, the report, the bundle."""

from __future__ import annotations

import resource
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List

import cv2

from sightd import __version__
from sightd.annotate import annotated
from sightd.bundle import Bundle, Manifest
from sightd.bundle_versions import publish
from sightd.errors import BundleError

from .agreement.gate import Gate
from .builders import onnxruntime as builder
from .calibration.frames import Frames
from .evidence import Evidence
from .report import write_report
from .search import Trial
from .workshop import Workshop

__all__ = ["ship"]


def ship(out: Path, folder: Path, evidence: Evidence, workshop: Workshop) -> Bundle:
    """Write the bundle to *out*; *folder* is for what is made on the way.

    :raises BundleError: it can't be written; a bundle that was there stays.
    """
    shipped = evidence.verdict.shipped
    file = workshop.file_of(shipped.recipe) if shipped else workshop.float_file
    picture = folder / "annotated.jpg"
    _draw(picture, file, evidence.gate, evidence.finished.labels)
    manifest = _manifest(evidence, workshop)
    extras = {**workshop.extras, picture.name: picture, **write_report(folder, file, evidence, workshop, manifest)}
    return publish(out, file, manifest, extras)


def _manifest(evidence: Evidence, workshop: Workshop) -> Manifest:
    finished, verdict = evidence.finished, evidence.verdict
    shipped = verdict.shipped
    return Manifest(
        engine=builder.record("int8" if shipped else "fp32"),
        model=evidence.model,
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
            "trials": [_row(trial) for trial in evidence.trials],
            "notes": list(finished.notes),
        },
        latency=workshop.latency[verdict.trial.recipe] if verdict.trial else {},
        build={"seconds": round(evidence.seconds, 1), "peak_rss_mb": _peak_rss_mb()},
    )


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


def _row(trial: Trial) -> Dict[str, Any]:
    recipe = trial.recipe
    return {
        "algorithm": recipe.algorithm,
        "scope": recipe.scope,
        "float_layers": recipe.float_layers,
        "head": recipe.head,
        "speedup": round(trial.speedup, 3),
        **{key: value for key, value in trial.agreement.as_dict().items() if not isinstance(value, (dict, list))},
    }


def _draw(picture: Path, file: Path, gate: Gate, labels: List[str]) -> None:
    """What the shipped engine finds on the hold-out frame where the reference finds most."""
    counts = [int((truth.scores >= gate.output.min_score).sum()) for truth in gate.truth]
    busiest = max(range(len(counts)), key=counts.__getitem__)
    image = next(image for index, image in enumerate(gate.images()) if index == busiest)
    found = gate.look(builder.KIND, file, [image])[0]
    if not cv2.imwrite(str(picture), annotated(image, found, labels)):
        raise BundleError(f"{picture}: the annotated picture can't be written; is the disk full?")


def _peak_rss_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
