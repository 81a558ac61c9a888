"""Is the choice of calibration frames better than a random one? By coverage, by activations seen, and by the engine.

All choices are made from the same candidates and judged on the same hold-out. "embeddings" is what `sightd convert`
does, "thumbnails" its fallback, "random" takes any. The even set has as many candidates of each clip, the uneven one
few but of one. All engines have one recipe and the same float layers, ranked by the ranges of all candidates.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from converter.agreement.gate import Gate
from converter.agreement.measure import detect
from converter.agreement.reference import Reference
from converter.builders.onnxruntime import KIND, OnnxRuntimeBuilder
from converter.calibration.coverage import radius_of
from converter.calibration.embeddings import embedder
from converter.calibration.frames import read_frames
from converter.calibration.select import choose, thumbnails
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import Ranges, collect_ranges
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from converter.progress import Silent
from converter.search import Recipe
from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.resize import resize_into
from sightd.types import Image, InputSpec

from .assets import asset
from .clips import CLIPS, write_frames
from .coco import evaluate
from .engine_files import write_int8
from .models import MODELS, RealModel, finished_model
from .result import Result

__all__ = ["run"]

_MODELS = ("yolox_nano", "centernet_mbv3")
#: Which candidates, how many of them.
_CASES = (("even", 16), ("even", 32), ("even", 64), ("uneven", 16))
_BUILT = (("even", 16), ("even", 64), ("uneven", 16))
#: In the uneven set one frame of so many is left of all cameras but one.
_RARE = 16
_SEEDS = range(5)
#: The ways to choose -> of how many seeds engines are built, which takes most of the time.
_WAYS = {"embeddings": 2, "thumbnails": 0, "random": 5}
_RECIPE = Recipe("percentile-99.999", "all", 8)
_HOLDOUT = 60
_RANKING_FRAMES = 4
#: COCO's own evaluation: everything down to this score.
_MIN_SCORE = 0.001
_COVERAGE = ("radius", "mean", "maxima")
_ENGINE = ("ap50", "ap50_low", "recall", "recall_low", "ap", "ap_low")
_COLUMNS = ("model", "set", "n", "choice", *_COVERAGE, "AP50", "lowest", "recall", "lowest", "AP", "lowest")


def run(quick: bool) -> Result:
    """Means over the seeds, of the engines the lowest too; *quick*: one model, one size, one engine a way."""
    figures: Dict[str, Any] = {}
    rows: List[Sequence[Any]] = []
    candidates: Dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "frames", 20 if quick else 100)
        for model in [model for model in MODELS if model.name in _MODELS][: 1 if quick else None]:
            trial = _Trial(model, Path(folder))
            for name, size in _CASES[:1] if quick else _CASES:
                candidates[name] = len(trial.sets[name])
                for way, engines in _WAYS.items():
                    found = _measure(trial, name, way, size, min(engines, 1) if quick else engines)
                    figures[f"{model.name} {name} {size} {way}"] = found
                    rows.append([model.name, name, size, way, *(found.get(key, "") for key in (*_COVERAGE, *_ENGINE))])
    conditions = {"recipe": str(_RECIPE), "candidates": candidates, "holdout": _HOLDOUT, "seeds": len(_SEEDS)}
    return Result("selection", figures, _COLUMNS, rows, conditions)


def _measure(trial: _Trial, name: str, way: str, size: int, engines: int) -> Dict[str, float]:
    """One way to choose *size* frames of the set *name*; *engines* are built, of the first seeds."""
    choices = [trial.chosen(name, way, size, seed) for seed in _SEEDS]
    figures = dict(zip(_COVERAGE, np.mean([trial.cover(name, choice) for choice in choices], axis=0).tolist()))
    if engines and (name, size) in _BUILT:
        built = np.array([trial.engine(choice) for choice in choices[:engines]])
        figures.update(zip(_ENGINE, np.stack([built.mean(axis=0), built.min(axis=0)], axis=1).ravel().tolist()))
    return {key: round(value, 4) for key, value in figures.items()}


class _Trial:
    """One model, its candidates and its hold-out."""

    def __init__(self, model: RealModel, folder: Path) -> None:
        finished = finished_model(model)
        self._spec = spec = finished.spec
        self._file = folder / f"{model.name}.onnx"
        frames = read_frames(folder / "frames", count=10_000, holdout=_HOLDOUT, seed=0)
        self._candidates = sorted(frames.calibration, key=lambda entry: (entry.camera, entry.captured_at))
        everything = range(len(self._candidates))
        #: Places of the candidates to choose from: all; all of one camera with a few of each other.
        self.sets = {
            "even": list(everything),
            "uneven": [p for p in everything if self._candidates[p].camera == CLIPS[0] or p % _RARE == 0],
        }
        embed = embedder(finished.model, spec)
        if embed is None:
            raise SystemExit(f"{model.name} has no features to choose by")
        pictures = list(frames.images(self._candidates))
        self._points = {
            "embeddings": np.stack([embed(picture) for picture in pictures]),
            "thumbnails": thumbnails(self._candidates),
        }
        self._inputs = [_input(picture, spec) for picture in pictures]
        self._model = simplify(finished.model)
        self._head = head_nodes(self._model)
        self._tensors = watched_tensors(self._model, self._head)
        ranges = collect_ranges(self._model, self._tensors, self._inputs)
        self._maxima = ranges.maxima
        self._float_nodes = self._head | self._most_damaging(ranges)
        reference = Reference(model.load(), spec, finished.head)
        self._gate = Gate.open(reference, frames, spec, OutputSpec(), batches=[1], progress=Silent())

    def chosen(self, name: str, way: str, size: int, seed: int) -> List[int]:
        """Places among all candidates, of the set *name*."""
        places = self.sets[name]
        if way == "random":
            return [places[place] for place in np.random.default_rng(seed).permutation(len(places))[:size]]
        entries = [self._candidates[place] for place in places]
        return [places[place] for place in choose(entries, self._points[way][places], size, seed)]

    def cover(self, name: str, choice: Sequence[int]) -> List[float]:
        """Greatest and mean distance of the set to the choice; the share of all candidates' maxima that it shows."""
        points, places = self._points["embeddings"], self.sets[name]
        radius = radius_of(points[places], [places.index(place) for place in choice])
        final = self._maxima.max(axis=0)
        seen = self._maxima[choice].max(axis=0)[final > 0] / final[final > 0]
        return [radius.greatest, radius.mean, float(seen.mean())]

    def engine(self, choice: Sequence[int]) -> List[float]:
        """AP50 and recall on the hold-out, AP on COCO's labels, of the engine calibrated on the choice."""
        ranges = collect_ranges(self._model, self._tensors, (self._inputs[place] for place in choice))
        write_int8(self._model, ranges, _RECIPE, self._float_nodes, self._file)
        agreed = self._gate.judge(KIND, self._file, "")
        folder = asset("images/coco_val_dev100")
        with load_engine(KIND, self._file, self._spec, 4, EngineOptions()) as engine:
            ap = evaluate(
                lambda images: detect(engine, images, OutputSpec(), _MIN_SCORE, batch=4),
                folder / "images",
                folder / "instances.json",
                4,
            )
        return [agreed.ap50, agreed.recall, ap]

    def _most_damaging(self, ranges: Ranges) -> Set[str]:
        """The layers that the recipe keeps float."""
        among = layers(self._model, self._head)
        inputs = self._inputs[:: -(-len(self._inputs) // _RANKING_FRAMES)]
        ranked = OnnxRuntimeBuilder().rank(self._model, ranges, among, self._head, inputs, lambda: None)
        return {damage.layer for damage in ranked[: _RECIPE.float_layers]}


def _input(image: Image, spec: InputSpec) -> NDArray[np.uint8]:
    pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
    resize_into(pixels[0], image, spec)
    return pixels
