"""One model along the converter's own steps: its float engine, the INT8 engine that agrees, and one made naively."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence, Tuple

import onnx

from converter.agreement.agree import Agreement
from converter.agreement.gate import Gate
from converter.agreement.reference import Reference
from converter.builders.onnxruntime import KIND, OnnxRuntimeBuilder
from converter.calibration.frames import read_frames
from converter.floats import build_floats
from converter.model.finish import FinishedModel
from converter.model.graph import OUR_PREFIX
from converter.progress import Silent
from converter.search import Limits, Recipe, Trial
from converter.verdict import Verdict, choose
from converter.workshop import Workshop
from sightd.manifest import OutputSpec

from .engine_files import write_int8

__all__ = ["Converted", "converted"]


@dataclass(frozen=True)
class Converted:
    """Engine files for ONNX Runtime and what the gate says of them."""

    reference: Reference
    float_file: Path
    verdict: Verdict
    #: The best INT8 engine that agrees, faster than float or not; None where none does.
    int8_file: Optional[Path]
    naive_file: Path
    naive_agreement: Agreement
    gate: Gate
    #: Every INT8 engine that was tried, and its file.
    tried: Sequence[Tuple[Trial, Path]]

    @property
    def trial(self) -> Optional[Trial]:
        """Of the INT8 engine."""
        return self.verdict.trial


def converted(
    model: onnx.ModelProto, finished: FinishedModel, calibration: Path, folder: Path, max_trials: int
) -> Converted:
    """The steps of converter.convert, so that an INT8 engine which agrees is there even where it is slower.

    :param calibration: a folder of pictures; half of them are held out to judge by.
    :param folder: for the engine files.
    """
    frames = read_frames(calibration, count=512, holdout=200, seed=0)
    reference = Reference(model, finished.spec, finished.head)
    gate = Gate.open(reference, frames, finished.spec, OutputSpec(), batches=[1, 4], progress=Silent())
    builder = OnnxRuntimeBuilder()
    yardstick = build_floats(builder, finished.model, gate, folder, Silent()).yardstick
    float_file = yardstick.built.file
    workshop = Workshop(finished, frames, gate, builder, float_file, folder, Silent())
    trials = workshop.search(Limits(max_trials))
    verdict = choose(yardstick.agreement, trials)
    naive = _naive(workshop, folder / "naive.onnx")
    int8 = workshop.file_of(verdict.trial.recipe) if verdict.trial else None
    judged = gate.judge(KIND, naive, "naive INT8")
    tried = [(trial, workshop.file_of(trial.recipe)) for trial in trials]
    return Converted(reference, float_file, verdict, int8, naive, judged, gate, tried)


def _naive(workshop: Workshop, file: Path) -> Path:
    """INT8 as it is done when nobody looks: every layer, the prediction layers too, ranges from the extremes."""
    model = workshop.model
    ours = {node.name for node in model.graph.node if node.name.startswith(OUR_PREFIX)}
    write_int8(model, workshop.collect_ranges(ours), Recipe("minmax", "all", 0), ours, file)
    return file
