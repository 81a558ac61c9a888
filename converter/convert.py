"""`sightd convert`: export, finish, calibrate, search, agree, ship; each step once, in this order."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

import onnx

from sightd.bundle import ModelRecord, OutputSpec, Profile, sha256_of
from sightd.errors import BundleError, ModelError

from .agreement.agree import Agreement
from .agreement.average_precision import AveragePrecision
from .agreement.gate import Gate
from .agreement.ground_truth import LabelledImage, read_ground_truth
from .agreement.half_weights import with_half_weights
from .agreement.labelled import label_precision
from .agreement.reference import Reference
from .builders import onnxruntime as builder
from .calibration.cameras import camera_counts
from .calibration.embeddings import embedder
from .calibration.frames import read_frames
from .evidence import Evidence
from .model.export import export
from .model.finish import FinishedModel, finish
from .model.graph import load_onnx, opset_of
from .model.labels import read_labels
from .progress import Progress
from .request import Request, Result
from .scratch import scratch_folder
from .search import Limits, Trial, search
from .ship import ship
from .verdict import choose
from .workshop import Workshop

__all__ = ["convert"]


def convert(request: Request, progress: Progress) -> Result:
    """Make the bundle that *request* asks for.

    :raises ModelError: the model can't be read, exported or finished, or the finished float model already
        detects something else than the one that was given.
    :raises CalibrationError: the frames, or the annotations, can't be used.
    :raises BundleError: the bundle can't be written; one that was there stays.
    """
    try:
        with scratch_folder(request.out.parent) as folder:
            return _convert(request, folder, progress)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise BundleError(f"{request.out}: can't be written ({why}); what was there before is kept") from error


def _convert(request: Request, folder: Path, progress: Progress) -> Result:
    started = time.monotonic()
    model, record = _given(request, folder)
    finished = _finished(request, model)
    truth = read_ground_truth(request.truth, finished.labels, request.truth_images) if request.truth else []
    frames = read_frames(
        request.calibration,
        count=request.frames,
        holdout=request.holdout,
        seed=request.seed,
        embed=embedder(finished.model, finished.spec),
        progress=progress,
        cameras=request.cameras,
    )
    progress.say(f"frames of the cameras: {camera_counts([*frames.calibration, *frames.holdout])}")
    progress.say(
        f"{record.name}: {finished.head.family}, {len(finished.labels)} classes, input {finished.spec.width} x "
        f"{finished.spec.height}; {len(frames.calibration)} frames to calibrate on, {len(frames.holdout)} held out"
    )
    profile = Profile(opt=min(Profile().opt, finished.max_batch), max=finished.max_batch)
    gate = Gate.open(
        Reference(model, finished.spec, finished.head),
        frames,
        finished.spec,
        OutputSpec(candidates=finished.candidates, min_score=request.thresholds.min_score),
        thresholds=request.thresholds,
        batches=sorted({1, profile.opt}),
        progress=progress,
        labels=finished.labels,
    )
    workshop = Workshop(finished, frames, gate, folder, progress)
    floats = workshop.judge_float()
    if floats.verdict == "disagrees":
        raise ModelError(
            f"once finished, the float model detects something else than as given ({floats.reason}): "
            "please report this with the model's name, no engine made of it can be trusted"
        )
    trials: List[Trial] = []
    if floats.agrees:
        trials = search(workshop.prepare(), workshop.attempt, Limits(request.max_trials, request.max_minutes))
        frames = frames.with_saturation(workshop.maxima())
    verdict = choose(floats, trials)
    noise = {"finished float model": floats, "float16 weights": _half_weights(finished, gate, folder)}
    files = {"float": workshop.float_file}
    if verdict.trial:
        files["int8"] = workshop.file_of(verdict.trial.recipe)
    evidence = Evidence(
        record,
        finished,
        frames,
        gate,
        profile,
        trials,
        verdict,
        time.monotonic() - started,
        request,
        floats,
        noise=noise,
        labelled=_labelled(truth, files, gate, progress),
    )
    return Result(ship(request.out, folder, evidence, workshop), verdict)


def _half_weights(finished: FinishedModel, gate: Gate, folder: Path) -> Agreement:
    """The second noise level beside the finished float model: what rounding the weights alone changes."""
    file = folder / "half-weights.onnx"
    builder.build_float(with_half_weights(finished.model), file)
    return gate.judge(builder.KIND, file, "float16 weights on the hold-out")


def _labelled(
    truth: Sequence[LabelledImage], files: Mapping[str, Path], gate: Gate, progress: Progress
) -> Dict[str, AveragePrecision]:
    """Real mAP of each of *files* by name; none without labelled pictures."""
    found = {
        name: label_precision(truth, builder.KIND, file, gate.spec, gate.output, progress)
        for name, file in (files.items() if truth else ())
    }
    for name, measured in found.items():
        progress.say(f"{name} on {measured.images} labelled pictures: AP {measured.ap:.4f}, AP50 {measured.ap50:.4f}")
    return found


def _given(request: Request, folder: Path) -> Tuple[onnx.ModelProto, ModelRecord]:
    """The user's model as an unfinished graph, exported first where weights were given."""
    if not request.factory:
        model = load_onnx(request.model)
        return model, ModelRecord(request.model.name, sha256_of(request.model), opset_of(model))
    if request.size is None:
        raise ModelError("PyTorch weights don't say the size of their input: give it with --size")
    made = export(request.model, request.factory, size=request.size, opset=request.opset, out=folder / "given.onnx")
    record = ModelRecord(request.model.name, sha256_of(made.onnx), made.opset, made.weights_sha256, made.exporter)
    return load_onnx(made.onnx), record


def _finished(request: Request, model: onnx.ModelProto) -> FinishedModel:
    size = {} if request.size is None else {"width": request.size[0], "height": request.size[1]}
    return finish(
        model,
        head=request.head or None,
        head_options=request.head_options,
        spec_overrides={**size, **request.spec},
        labels=read_labels(request.labels) if request.labels else None,
    )
