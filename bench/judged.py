"""Honest and spoilt engines of one model, each judged by the gate and, beside it, by labels.

A planted fault spoils the candidate alone: its file, its preprocessing or what it reports. Other INT8 engines are
honest where their AP on 100 labelled images is at least .98 of the finished float model's and ruined below .96;
between the two lies what 100 images can't tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from converter.agreement.agree import Agreement, agreement, levels
from converter.agreement.average_precision import average_precision
from converter.agreement.gate import Gate
from converter.agreement.ground_truth import read_ground_truth, read_labelled_image
from converter.agreement.half_weights import with_half_weights
from converter.agreement.measure import detect
from converter.agreement.reference import Reference
from converter.builders.onnxruntime import KIND, OnnxRuntimeBuilder
from converter.calibration.frames import Frames, read_frames
from converter.int8.histogram import Histogram
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import Ranges, collect_ranges
from converter.model.finish import finish
from converter.model.graph import OUR_PREFIX
from converter.model.labels import read_labels
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from converter.progress import Silent
from converter.search import Recipe
from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.resize import resize_into
from sightd.types import Detections, Image, InputSpec

from .assets import asset
from .engine_files import write_float, write_int8
from .models import RealModel, finished_model

__all__ = ["FAULTS", "Judged", "JudgedModel"]

FAULTS = (
    "bgr-rgb-swap",
    "missing-scale",
    "centre-crop",
    "other-models-ranges",
    "noise-ranges",
    "class-dropped",
    "naive",
)
_HONEST, _RUINED = 0.98, 0.96
#: COCO's own evaluation: everything down to this score, 100 boxes an image.
_MIN_SCORE = 0.001
_RANKING_FRAMES = 4
_NOISE_FRAMES = 32
_SEEDS = (1, 2)

#: A picture as the candidate sees it, and how far its origin was moved.
_Seen = Tuple[Image, int, int]


@dataclass(frozen=True)
class Judged:
    """One engine."""

    model: str
    engine: str
    #: One of FAULTS, or by the labels "honest", "between", "ruined".
    kind: str
    #: AP on the labels, and as a share of the finished float model's.
    ap: float
    share: float
    agreement: Agreement

    @property
    def must_fail(self) -> bool:
        """Whether the gate may not pass it."""
        return self.kind == "ruined" or self.kind in FAULTS


class JudgedModel:
    """One model, its gate, its labelled images."""

    def __init__(self, model: RealModel, pictures: Path, folder: Path) -> None:
        self.name, self._model = model.name, model
        self._finished = finished_model(model)
        self._spec, self._file, self._pictures = self._finished.spec, folder / f"{model.name}.onnx", pictures
        self.frames = read_frames(pictures, count=128, holdout=200, seed=0)
        reference = Reference(model.load(), self._spec, self._finished.head)
        output = OutputSpec()
        self._gate = Gate.open(
            reference, self.frames, self._spec, output, batches=[1], progress=Silent(), labels=self._finished.labels
        )
        labelled = asset("images/coco_val_dev100/instances.json")
        self._truth = read_ground_truth(labelled, self._finished.labels)
        self._labelled = [read_labelled_image(image) for image in self._truth]
        self._graph = simplify(self._finished.model)
        self._head = head_nodes(self._graph)
        self._float_ap = 0.0

    def ranges(self, frames: Frames) -> Ranges:
        """Ranges by the calibration frames of *frames*."""
        return self._collect(_input(image, self._spec) for image in frames.images(frames.calibration))

    def judged(self, own: Ranges, other: Ranges, recipes: Sequence[Recipe]) -> List[Judged]:
        """Every engine and every fault, judged."""
        rows = [self._float("fp32", {}), self._half()]
        rows += [self._float(fault, overrides, fault) for fault, overrides in self._wrong_specs()]
        write_float(self._finished.model, self._file)
        rows.append(self._row("fp32", "centre-crop", see=self._cropped))
        dropped = self._rarest_class()
        rows.append(self._row(f"fp32 without {self._finished.labels[dropped]}", "class-dropped", drop=dropped))
        self._ranking = self._rank(own)
        rows += [self._int8(own, recipe, "") for recipe in recipes]
        rows += [self._int8(self._of_seed(seed), recipes[0], f"64 frames, seed {seed}: ") for seed in _SEEDS]
        matched = dict(zip(own.histograms, _cycled(list(other.histograms.values()), len(own.histograms))))
        rows.append(self._int8(Ranges(matched, other.frames), recipes[0], "", "other-models-ranges"))
        random = np.random.default_rng(0)
        shape = (1, self._spec.height, self._spec.width, 3)
        noise = self._collect(random.integers(0, 256, shape, np.uint8) for _ in range(_NOISE_FRAMES))
        rows.append(self._int8(noise, recipes[0], "", "noise-ranges"))
        return [*rows, self._naive()]

    def _float(self, title: str, overrides: Dict[str, object], fault: str = "") -> Judged:
        graph = finish(self._model.load(), labels=read_labels("coco80"), spec_overrides=overrides).model
        write_float(graph, self._file)
        return self._row(title, fault)

    def _half(self) -> Judged:
        write_float(with_half_weights(self._finished.model), self._file)
        return self._row("float16 weights", "")

    def _wrong_specs(self) -> Iterator[Tuple[str, Dict[str, object]]]:
        yield "bgr-rgb-swap", {"channel_order": "rgb" if self._spec.channel_order == "bgr" else "bgr"}
        yield "missing-scale", {"scale": 1 / 255 if self._spec.scale == 1 else 1.0}

    def _int8(self, ranges: Ranges, recipe: Recipe, title: str, fault: str = "") -> Judged:
        kept = self._head | set(self._ranking[: recipe.float_layers])
        write_int8(self._graph, ranges, recipe, kept, self._file)
        return self._row(f"{title}{recipe.algorithm} {recipe.scope} {recipe.float_layers}", fault)

    def _naive(self) -> Judged:
        """INT8 as it is done when nobody looks: every layer, the prediction layers too, ranges from the extremes."""
        ours = {node.name for node in self._graph.graph.node if node.name.startswith(OUR_PREFIX)}
        inputs = (_input(image, self._spec) for image in self.frames.images(self.frames.calibration))
        ranges = collect_ranges(self._graph, watched_tensors(self._graph, ours), inputs)
        write_int8(self._graph, ranges, Recipe("minmax", "all", 0), ours, self._file)
        return self._row("every layer", "naive")

    def _of_seed(self, seed: int) -> Ranges:
        return self.ranges(read_frames(self._pictures, count=64, holdout=200, seed=seed))

    def _collect(self, inputs: Iterable[NDArray[np.uint8]]) -> Ranges:
        return collect_ranges(self._graph, watched_tensors(self._graph, self._head), inputs)

    def _rank(self, ranges: Ranges) -> List[str]:
        entries = self.frames.calibration[:_RANKING_FRAMES]
        inputs = [_input(image, self._spec) for image in self.frames.images(entries)]
        candidates = layers(self._graph, self._head)
        return [
            one.layer
            for one in OnnxRuntimeBuilder().rank(self._graph, ranges, candidates, self._head, inputs, lambda: None)
        ]

    def _cropped(self, image: Image) -> _Seen:
        """The largest middle part of the input's shape: what a resize to fill and a crop leave."""
        height, width = image.shape[:2]
        inner_w = min(width, round(height * self._spec.width / self._spec.height))
        inner_h = min(height, round(width * self._spec.height / self._spec.width))
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        return np.ascontiguousarray(image[top : top + inner_h, left : left + inner_w]), left, top

    def _rarest_class(self) -> int:
        """The one whose loss is hardest to see of those with enough boxes to be judged by themselves."""
        limits = self._gate.thresholds
        classes = np.concatenate(
            [truth.classes[truth.scores >= limits.min_score + limits.margin] for truth in self._gate.truth]
        )
        counts = np.bincount(classes)
        return int(np.where(counts >= limits.min_group_evidence, counts, counts.max() + 1).argmin())

    def _row(
        self, title: str, fault: str, see: Callable[[Image], _Seen] = lambda image: (image, 0, 0), drop: int = -1
    ) -> Judged:
        """Judge what is in the file now."""
        gate = self._gate
        with load_engine(KIND, self._file, self._spec, 1, EngineOptions()) as engine:

            def found(images: Iterable[Image], min_score: float) -> List[Detections]:
                seen = [see(image) for image in images]
                raw = detect(engine, [image for image, _, _ in seen], gate.output, min_score)
                return [_moved(detections, x, y, drop) for detections, (_, x, y) in zip(raw, seen)]

            result = agreement(
                gate.truth,
                found(gate.images(), levels(gate.thresholds).floor),
                gate.needed(),
                entries=gate.entries,
                labels=gate.labels,
            )
            ap = average_precision(self._truth, found(self._labelled, _MIN_SCORE)).ap
        if gate.floor is None:
            gate.floor, self._float_ap = result, ap
        share = ap / self._float_ap
        kind = fault or ("honest" if share >= _HONEST else "ruined" if share < _RUINED else "between")
        return Judged(self.name, title, kind, ap, share, result)


def _moved(detections: Detections, x: int, y: int, drop: int) -> Detections:
    """Back in the whole picture, without the class *drop*."""
    keep = detections.classes != drop
    shift = np.array([x, y, x, y], np.float32)
    return Detections(detections.boxes[keep] + shift, detections.scores[keep], detections.classes[keep])


def _cycled(items: Sequence[Histogram], count: int) -> List[Histogram]:
    return [items[place % len(items)] for place in range(count)]


def _input(image: Image, spec: InputSpec) -> NDArray[np.uint8]:
    pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
    resize_into(pixels[0], image, spec)
    return pixels
