"""The gate: every engine file that was built is judged here, on the hold-out frames and by the clock."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence

from sightd.calibration_entries import Entry
from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.types import Detections, Image, InputSpec

from ..calibration.frames import Frames
from ..progress import Progress
from .agree import Agreement, Thresholds, agreement, levels
from .measure import detect, latencies
from .reference import Reference

__all__ = ["Gate", "Latencies"]

#: The reference runs until there is so many times the evidence that is needed: intervals get narrower by it.
_RESERVE = 2
#: However busy they are, fewer frames are too much alike.
_LEAST_FRAMES = 40

#: Batch size as text -> p50_ms and p95_ms.
Latencies = Dict[str, Dict[str, float]]


@dataclass
class Gate:
    """Knows the truth about the hold-out and compares engines with it."""

    #: Reads the judged frames anew, always in the same order.
    images: Callable[[], Iterable[Image]]
    #: The reference's detections on them, down to ``levels(thresholds).floor``.
    truth: List[Detections]
    spec: InputSpec
    output: OutputSpec
    thresholds: Thresholds
    #: Batch sizes to time.
    batches: Sequence[int]
    progress: Progress
    #: The judged frames.
    entries: Sequence[Entry] = ()
    #: Names of the classes.
    labels: Sequence[str] = ()
    #: What the finished float model reaches, once it was judged: no candidate is asked for more.
    floor: Optional[Agreement] = None

    @classmethod
    def open(
        cls,
        reference: Reference,
        frames: Frames,
        spec: InputSpec,
        output: OutputSpec,
        *,
        thresholds: Optional[Thresholds] = None,
        batches: Sequence[int],
        progress: Progress,
        labels: Sequence[str] = (),
    ) -> Gate:
        """Run *reference* over as many frames of the hold-out as give evidence enough; the slow part, done once."""
        thresholds = thresholds or Thresholds()
        truth: List[Detections] = []
        evidence = 0
        with progress.stage("reference on the hold-out", len(frames.holdout)) as step:
            for image in frames.images(frames.holdout):
                truth.append(reference.detect(image, levels(thresholds).floor, output.nms_iou))
                evidence += int((truth[-1].scores >= thresholds.min_score + thresholds.margin).sum())
                step()
                if evidence >= _RESERVE * thresholds.min_evidence and len(truth) >= _LEAST_FRAMES:
                    break
        entries = frames.holdout[: len(truth)]
        images = partial(frames.images, entries)
        return cls(images, truth, spec, output, thresholds, batches, progress, entries, labels)

    def judge_floor(self, kind: str, file: Path, title: str) -> Agreement:
        """Judge the finished float model in *file*; what it misses itself, candidates may miss too."""
        self.floor = self._judge(kind, file, title, self.thresholds)
        return self.floor

    def judge(self, kind: str, file: Path, title: str) -> Agreement:
        """How far the engine in *file* agrees with the reference."""
        return self._judge(kind, file, title, self.needed())

    def needed(self) -> Thresholds:
        """What a candidate must reach."""
        return self.thresholds if self.floor is None else self.thresholds.lowered(vars(self.floor))

    def detections(self, kind: str, file: Path, title: str) -> List[Detections]:
        """What the engine in *file* finds on the hold-out, along the daemon's own path."""
        floor = levels(self.thresholds).floor
        with load_engine(kind, file, self.spec, 1, EngineOptions()) as engine, self.progress.stage(
            title, len(self.truth)
        ) as step:
            return detect(engine, self.images(), self.output, floor, on_image=step)

    def look(self, kind: str, file: Path, images: Iterable[Image]) -> List[Detections]:
        """What the engine in *file* reports of each of *images*."""
        with load_engine(kind, file, self.spec, 1, EngineOptions()) as engine:
            return detect(engine, images, self.output, self.output.min_score)

    def reported(self, frame: int) -> Detections:
        """What the reference reports of one of the judged frames."""
        truth = self.truth[frame]
        keep = truth.scores >= self.output.min_score
        return Detections(truth.boxes[keep], truth.scores[keep], truth.classes[keep])

    def busiest(self) -> Image:
        """The judged frame on which the reference reports most."""
        counts = [int((truth.scores >= self.output.min_score).sum()) for truth in self.truth]
        busiest = max(range(len(counts)), key=counts.__getitem__)
        return next(image for index, image in enumerate(self.images()) if index == busiest)

    def race(self, kind: str, files: Dict[str, Path]) -> Dict[str, Latencies]:
        """Latencies of the engine *files* by name, taken in turns in one run."""
        image = next(iter(self.images()))
        largest, options = max(self.batches), EngineOptions()
        with ExitStack() as stack:
            engines = {
                name: stack.enter_context(load_engine(kind, file, self.spec, largest, options))
                for name, file in files.items()
            }
            return latencies(engines, image, self.batches)

    def _judge(self, kind: str, file: Path, title: str, thresholds: Thresholds) -> Agreement:
        found = self.detections(kind, file, title)
        return agreement(self.truth, found, thresholds, entries=self.entries, labels=self.labels)
