"""The gate: every engine file that was built is judged here, on the hold-out frames and by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence

from sightd.bundle import OutputSpec
from sightd.engines import EngineOptions, load_engine
from sightd.types import Detections, Image, InputSpec

from .agree import Agreement, Thresholds, agreement
from .frames import Frames
from .measure import detect, latencies
from .progress import Progress
from .reference import Reference

__all__ = ["Gate", "Latencies"]

#: Batch size as text -> p50_ms and p95_ms.
Latencies = Dict[str, Dict[str, float]]


@dataclass(frozen=True)
class Gate:
    """Knows the truth about the hold-out and compares engines with it."""

    #: Reads the hold-out anew, always in the same order.
    images: Callable[[], Iterable[Image]]
    #: The reference's detections on it, down to ``thresholds.min_score - thresholds.margin``.
    truth: List[Detections]
    spec: InputSpec
    output: OutputSpec
    thresholds: Thresholds
    #: Batch sizes to time.
    batches: Sequence[int]
    progress: Progress

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
    ) -> Gate:
        """Run *reference* over the hold-out of *frames*; the slow part, done once."""
        thresholds = thresholds or Thresholds()
        floor = thresholds.min_score - thresholds.margin
        images = partial(frames.images, frames.holdout)
        truth = []
        with progress.stage("reference on the hold-out", len(frames.holdout)) as step:
            for image in images():
                truth.append(reference.detect(image, floor, output.nms_iou))
                step()
        return cls(images, truth, spec, output, thresholds, batches, progress)

    def judge(self, kind: str, file: Path, title: str) -> Agreement:
        """How far the engine in *file* agrees with the reference."""
        return agreement(self.truth, self.detections(kind, file, title), self.thresholds)

    def detections(self, kind: str, file: Path, title: str) -> List[Detections]:
        """What the engine in *file* finds on the hold-out, along the daemon's own path."""
        floor = self.thresholds.min_score - self.thresholds.margin
        with load_engine(kind, file, self.spec, 1, EngineOptions()) as engine, self.progress.stage(
            title, len(self.truth)
        ) as step:
            return detect(engine, self.images(), self.output, floor, on_image=step)

    def look(self, kind: str, file: Path, image: Image) -> Detections:
        """What the engine in *file* reports of one picture."""
        with load_engine(kind, file, self.spec, 1, EngineOptions()) as engine:
            return detect(engine, [image], self.output, self.output.min_score)[0]

    def race(self, kind: str, files: Dict[str, Path]) -> Dict[str, Latencies]:
        """Latencies of the two engine *files* by name, taken in turns in one run."""
        image = next(iter(self.images()))
        largest, options = max(self.batches), EngineOptions()
        (first, file), (second, other) = files.items()
        with load_engine(kind, file, self.spec, largest, options) as engine, load_engine(
            kind, other, self.spec, largest, options
        ) as rival:
            return latencies({first: engine, second: rival}, image, self.batches)
