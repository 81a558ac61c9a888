"""`sightd convert`: export, finish, calibrate, search, agree, ship; each step once, in this order."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

import onnx

from sightd.bundle import holds_something_else
from sightd.errors import BundleError, ModelError
from sightd.manifest import OutputSpec, Profile

from .agreement.agree import Agreement
from .agreement.average_precision import AveragePrecision
from .agreement.gate import Gate
from .agreement.ground_truth import LabelledImage, read_ground_truth
from .agreement.half_weights import with_half_weights
from .agreement.labelled import label_precision
from .agreement.reference import Reference
from .builders.choice import choose_builder
from .builders.onnxruntime import KIND as ONNX_RUNTIME
from .calibration.cameras import camera_counts
from .calibration.embeddings import embedder
from .calibration.frames import Frames, read_frames
from .evidence import Evidence
from .floats import Floats, build_floats
from .given import Given, read_given
from .model.finish import FinishedModel, finish
from .model.labels import read_labels
from .progress import Progress
from .request import Request, Result
from .scratch import scratch_folder
from .search import Limits, Trial
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
        _check_request(request)
        with scratch_folder(request.out.parent) as folder:
            return _convert(request, folder, progress)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise BundleError(f"{request.out}: can't be written ({why}); what was there before is kept") from error


def _check_request(request: Request) -> None:
    """What would else be found when all is done, an hour later."""
    if request.out.exists() and not request.out.is_dir():
        raise BundleError(f"{request.out}: is a file, and a bundle is a folder; name another place")
    if request.out.is_dir() and holds_something_else(request.out):
        raise BundleError(f"{request.out}: holds other files and no bundle; name an empty folder, or one to be made")
    for path in (request.model, request.calibration):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise ModelError(f"{str(path)!r}: its name is no UTF-8, so no manifest can hold it: rename it") from error


def _convert(request: Request, folder: Path, progress: Progress) -> Result:
    started = time.monotonic()
    given = read_given(request, folder)
    finished = _finished(request, given.model)
    truth = read_ground_truth(request.truth, finished.labels, request.truth_images) if request.truth else []
    profile = Profile(opt=min(Profile().opt, finished.max_batch), max=finished.max_batch)
    earlier = request.rebuilt.files if request.rebuilt else {}
    builder = choose_builder(request.engine, request.trt, profile, folder, earlier, progress)
    frames = _frames(request, finished, progress)
    progress.say(
        f"{given.record.name}: {finished.head.family}, {len(finished.labels)} classes, input {finished.spec.width} x "
        f"{finished.spec.height}; {len(frames.calibration)} frames to calibrate on, {len(frames.holdout)} held out"
    )
    gate = _gate(request, given, finished, frames, profile, progress)
    floats = build_floats(builder, finished.model, gate, folder, progress)
    _check_finished(floats.exact.agreement)
    float_file = floats.yardstick.built.file
    workshop = Workshop(
        finished, frames, gate, builder, float_file, folder, progress, earlier_ranges=earlier.get("ranges.npz")
    )
    trials: List[Trial] = []
    if floats.exact.agreement.agrees:
        trials = _searched(workshop, request, progress)
        frames = frames.with_saturation(workshop.maxima())
    verdict = choose(floats.yardstick.agreement, trials)
    files = {"float": float_file}
    if verdict.trial:
        files["int8"] = workshop.file_of(verdict.trial.recipe)
    evidence = Evidence(
        given,
        finished,
        frames,
        gate,
        profile,
        trials,
        verdict,
        time.monotonic() - started,
        request,
        floats,
        noise=_noise(floats, finished, gate, folder),
        labelled=_labelled(truth, builder.kind, files, gate, progress),
    )
    return Result(ship(request.out, folder, evidence, workshop, builder), verdict)


def _frames(request: Request, finished: FinishedModel, progress: Progress) -> Frames:
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
    return frames


def _gate(
    request: Request, given: Given, finished: FinishedModel, frames: Frames, profile: Profile, progress: Progress
) -> Gate:
    return Gate.open(
        Reference(given.model, finished.spec, finished.head),
        frames,
        finished.spec,
        OutputSpec(finished.candidates, finished.head.nms_iou, request.thresholds.min_score),
        thresholds=request.thresholds,
        batches=sorted({1, profile.opt}),
        progress=progress,
        labels=finished.labels,
    )


def _check_finished(floats: Agreement) -> None:
    if floats.verdict == "disagrees":
        raise ModelError(
            f"once finished, the float model detects something else than as given ({floats.reason}): "
            "please report this with the model's name, no engine made of it can be trusted"
        )


def _searched(workshop: Workshop, request: Request, progress: Progress) -> List[Trial]:
    limits = Limits(request.max_trials, request.max_minutes)

    def estimate(seconds: float) -> None:
        most = min(limits.trials * seconds / 60, limits.minutes + seconds / 60)
        progress.say(f"an INT8 engine takes {seconds:.0f} s; {limits.trials} at most are tried, in {most:.1f} min")

    return workshop.search(limits, estimate)


def _noise(floats: Floats, finished: FinishedModel, gate: Gate, folder: Path) -> Dict[str, Agreement]:
    """What changes without INT8: the float engines, and (in ONNX Runtime on any machine) rounding the weights alone."""
    file = folder / "half-weights.onnx"
    file.write_bytes(with_half_weights(finished.model).SerializeToString())
    return {
        **{floats.title(engine): engine.agreement for engine in floats.engines},
        "float16 weights": gate.judge(ONNX_RUNTIME, file, "float16 weights on the hold-out"),
    }


def _labelled(
    truth: Sequence[LabelledImage], kind: str, files: Mapping[str, Path], gate: Gate, progress: Progress
) -> Dict[str, AveragePrecision]:
    """Real mAP of each of *files* by name; none without labelled pictures."""
    found = {
        name: label_precision(truth, kind, file, gate.spec, gate.output, progress)
        for name, file in (files.items() if truth else ())
    }
    for name, measured in found.items():
        progress.say(f"{name} on {measured.images} labelled pictures: AP {measured.ap:.4f}, AP50 {measured.ap50:.4f}")
    return found


def _finished(request: Request, model: onnx.ModelProto) -> FinishedModel:
    size = {} if request.size is None else {"width": request.size[0], "height": request.size[1]}
    return finish(
        model,
        head=request.head or None,
        head_options=request.head_options,
        spec_overrides={**size, **request.spec},
        labels=read_labels(request.labels) if request.labels else request.names or None,
    )
