"""The workshop: makes INT8 engines of one finished model and has the gate judge each."""

from __future__ import annotations

from pathlib import Path
from typing import AbstractSet, Callable, Dict, Iterator, List, Optional

import numpy as np
from numpy.typing import NDArray

from sightd.errors import BuildError, CalibrationError, EngineError
from sightd.resize import resize_into
from sightd.types import Image, InputSpec

from .agreement.gate import Gate, Latencies
from .builders.base import Builder, Built, Calibration
from .calibration.frames import Frames
from .int8.plan import layers, watched_tensors
from .int8.ranges import Ranges, collect_ranges
from .int8.ranges_file import load_ranges, ranges_key, save_ranges
from .int8.sensitivity import Damage
from .model.finish import FinishedModel
from .model.simplify import simplify
from .model.tail import head_nodes
from .progress import Progress
from .search import Limits, Recipe, Trial, not_built, search

__all__ = ["Workshop"]

#: Frames that the layers' damage is measured on; the ranking hardly changes with more.
_RANKING_FRAMES = 4


class Workshop:
    """Works in *folder*, whose engine files live until the bundle is written."""

    def __init__(
        self,
        finished: FinishedModel,
        frames: Frames,
        gate: Gate,
        builder: Builder,
        float_file: Path,
        folder: Path,
        progress: Progress,
        earlier_ranges: Optional[Path] = None,
    ) -> None:
        """Make ready for *finished*.

        :param float_file: the engine without INT8 that speed is measured against.
        :param earlier_ranges: a file of :func:`save_ranges`, used where model, frames and input are the same.
        """
        self._spec = finished.spec
        #: What INT8 engines are made of: the finished model without what would only cost them.
        self.model = simplify(finished.model)
        self._frames, self._gate, self._builder = frames, gate, builder
        self._float_file, self._earlier_ranges = float_file, earlier_ranges
        self._folder, self._progress = folder, progress
        #: The engines that were built and run, and their latencies, measured beside the float engine in one run.
        self.built: Dict[Recipe, Built] = {}
        self.latency: Dict[Recipe, Dict[str, Latencies]] = {}
        tail = head_nodes(self.model)
        #: The prediction layers, float unless a recipe says otherwise.
        self.head: AbstractSet[str] = tail.intersection(layers(self.model, set()))
        #: Whether a recipe may: where sides are the mean of a distribution (DFL), a step of INT8 is pixels. Any Softmax
        #: is taken for one, that of FastestDet's classes too, which costs the search a change to try.
        self.int8_head = not any(node.op_type == "Softmax" for node in self.model.graph.node if node.name in tail)
        #: Float in every recipe: decoding, and (from prepare() on) what INT8 only slows down.
        self._never = tail - self.head
        #: Every layer that can be INT8, the most damaging first, prediction layers included; empty before prepare().
        self.ranking: List[Damage] = []
        #: Further files for the bundle, by their names in it.
        self.extras: Dict[str, Path] = {}

    def search(self, limits: Limits, on_first: Callable[[float], None] = lambda seconds: None) -> List[Trial]:
        """Prepare, then every trial that :func:`converter.search.search` makes of the builder's recipes."""
        layers = self.prepare()
        families = self._builder.families
        return search(layers, self.attempt, limits, families, int8_head=self.int8_head, on_first=on_first)

    def prepare(self) -> int:
        """Measure ranges and rank the layers; the number of layers that can be INT8 while the head is float."""
        self._ranges = self._known_ranges() or self.collect_ranges(self._never)
        self._keep_ranges()
        self._never |= self._builder.better_float(self.model, layers(self.model, self._never))
        candidates = layers(self.model, self._never)
        with self._progress.stage("damage of each layer", len(candidates)) as step:
            inputs = list(self._some_inputs())
            self.ranking = self._builder.rank(self.model, self._ranges, candidates, self._never, inputs, step)
        return sum(one.layer not in self.head for one in self.ranking)

    def collect_ranges(self, float_nodes: AbstractSet[str]) -> Ranges:
        """Ranges of all that may be INT8 when *float_nodes* stay float, over the calibration frames."""
        tensors = watched_tensors(self.model, float_nodes)
        with self._progress.stage("activation ranges on the calibration frames", len(self._frames.calibration)) as step:
            return collect_ranges(self.model, tensors, self._inputs(), on_frame=lambda done: step())

    def attempt(self, recipe: Recipe) -> Trial:
        """Build, judge and time the engine of *recipe*; one that can't be built, or does not run, does not agree."""
        kind, file = self._builder.kind, self.file_of(recipe)
        calibration = Calibration(self._ranges, self._inputs, len(self._frames.calibration), self._key())
        try:
            built = self._builder.build_int8(self.model, calibration, recipe, self._float_nodes(recipe), file)
            if built.precision != "int8":
                raise BuildError(built.notes[-1] if built.notes else f"what was built computes in {built.precision}")
            agreed = self._gate.judge(kind, file, f"INT8 ({recipe}) on the hold-out")
            times = self._gate.race(kind, {"float": self._float_file, "int8": file})
        except (BuildError, EngineError) as error:
            self._progress.say(f"INT8 ({recipe}): could not be built. {error}")
            return not_built(recipe, str(error))
        self.built[recipe], self.latency[recipe] = built, times
        speedup = _speedup(times, max(self._gate.batches))
        self._progress.say(f"INT8 ({recipe}): {agreed.verdict}, {agreed.reason}; {speedup:.2f} x float's speed")
        return Trial(recipe, agreed, speedup)

    def file_of(self, recipe: Recipe) -> Path:
        """Where the engine of *recipe* is built."""
        return (
            self._folder
            / f"int8-{recipe.algorithm}-{recipe.scope}-{recipe.float_layers}-{recipe.head}{self._builder.suffix}"
        )

    def float_layers(self, recipe: Recipe) -> List[str]:
        """The names of the layers that *recipe* keeps float for their damage, the head not counted."""
        ranked = [one.layer for one in self.ranking if one.layer not in self.head]
        return ranked[: recipe.float_layers]

    def precisions(self, precision: str, recipe: Optional[Recipe]) -> Dict[str, str]:
        """Node name -> what it is asked to compute in, in an engine of *precision*; INT8 by *recipe*."""
        int8: AbstractSet[str] = frozenset()
        if recipe is not None:
            int8 = self._builder.int8_nodes(self.model, self._float_nodes(recipe), recipe.scope)
        exact = self._builder.exact_nodes(self.model)
        below = self._builder.below_int8 if precision == "int8" else precision
        names = [node.name for node in self.model.graph.node]
        return {name: "int8" if name in int8 else "fp32" if name in exact else below for name in names}

    def silent_tensors(self) -> List[str]:
        """Activations that were zero in every calibration frame: nothing is known about their range."""
        return self._ranges.silent()

    def maxima(self) -> NDArray[np.float32]:
        """[calibration frames, activations] the largest magnitude in each; only after prepare()."""
        return self._ranges.maxima

    def _float_nodes(self, recipe: Recipe) -> AbstractSet[str]:
        head = self.head if recipe.head == "float" else set()
        return self._never | head | set(self.float_layers(recipe))

    def _key(self) -> str:
        return ranges_key(self.model, self._frames.sha256, self._spec)

    def _known_ranges(self) -> Optional[Ranges]:
        """Those of an earlier conversion, where they are what would be measured now."""
        if self._earlier_ranges is None:
            return None
        try:
            ranges = load_ranges(self._earlier_ranges, self._key())
        except CalibrationError:
            return None
        if list(ranges.histograms) != watched_tensors(self.model, self._never):
            return None
        self._progress.say("activation ranges: taken over, model, frames and input are the same")
        return ranges

    def _keep_ranges(self) -> None:
        """The ranges go into the bundle: another target's engine can be made of them without the frames."""
        file = self._folder / "ranges.npz"
        save_ranges(file, self._ranges, self._key())
        self.extras[file.name] = file

    def _inputs(self) -> Iterator[NDArray[np.uint8]]:
        """The calibration frames as the engine's input, [1, H, W, 3] uint8, along the daemon's own path."""
        return (_input(image, self._spec) for image in self._frames.images(self._frames.calibration))

    def _some_inputs(self) -> Iterator[NDArray[np.uint8]]:
        entries = self._frames.calibration
        spread = entries[:: max(1, len(entries) // _RANKING_FRAMES)][:_RANKING_FRAMES]
        return (_input(image, self._spec) for image in self._frames.images(spread))


def _input(image: Image, spec: InputSpec) -> NDArray[np.uint8]:
    pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
    resize_into(pixels[0], image, spec)
    return pixels


def _speedup(times: Dict[str, Latencies], batch: int) -> float:
    return times["float"][str(batch)]["p50_ms"] / times["int8"][str(batch)]["p50_ms"]
