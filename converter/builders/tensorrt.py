"""Builds TensorRT engines on this machine's GPU, each in a process of its own (:mod:`.tensorrt_worker`)."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import AbstractSet, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.engines.tensorrt_profiles import profiles_wanted
from sightd.errors import BuildError
from sightd.manifest import EngineRecord, Profile

from ..int8.calibration_cache import calibration_cache
from ..int8.emit import emit
from ..int8.ranges import Ranges
from ..int8.sensitivity import Damage, rank_layers
from ..int8.targets import TENSORRT
from ..progress import Progress, Silent
from ..search import Recipe
from .base import Builder, Built, Calibration
from .tensorrt_attempts import Attempts, ask
from .tensorrt_cache import cache_key, load_cache, save_cache
from .tensorrt_graph import decoding_nodes, in_half, with_float_input
from .tensorrt_memory import available_mb
from .tensorrt_order import Facts, Order, TensorRtOptions

__all__ = ["KIND", "TIMING_CACHE", "TensorRtBuilder"]

#: The engine kind in the manifest.
KIND = "tensorrt"
#: The name in the bundle of what TensorRT measured of its kernels on this GPU.
TIMING_CACHE = "tensorrt-timing.cache"
#: TensorRT's own calibrators by our names of their algorithms.
_CALIBRATORS = {"tensorrt-entropy": "entropy", "tensorrt-minmax": "minmax"}
#: With scales of ours. Where TensorRT calibrates, they go into its calibration cache; what computes in INT8 between the
#: layers is its choice there, so that a recipe's scope says nothing.
_OURS = ("mse", "percentile-99.999")
_EXPLICIT = (*_OURS, "minmax", "entropy")
_FLOAT_LAYERS = 8
#: The order of the layers is the same by and large with any algorithm.
_RANKED_BY = "percentile-99.999"
_REFUSED = (10, 2, 0)
_TEGRA_RELEASE = Path("/etc/nv_tegra_release")


class TensorRtBuilder(Builder):
    """For this machine's GPU and the TensorRT that is installed on it, 8.5 and later."""

    kind = KIND
    suffix = ".plan"
    below_int8 = "fp16"

    def __init__(
        self,
        options: TensorRtOptions,
        profile: Profile,
        folder: Path,
        earlier: Optional[Mapping[str, Path]] = None,
        progress: Optional[Progress] = None,
        available: Callable[[], int] = available_mb,
    ) -> None:
        """Ask TensorRT for its version and the machine for its GPU.

        :param profile: the batches that the engine is to take.
        :param folder: for graphs, caches and logs, while this builder is used.
        :param earlier: what an earlier builder gave as :meth:`extras`; other files are ignored.
        :param available: the machine's memory that is free, in MB.
        :raises BuildError: TensorRT or the GPU can't be used, or not for what *options* ask.
        """
        self._options, self._profile, self._folder = options, profile, folder.resolve()
        self._earlier = earlier or {}
        self._extras: Dict[str, Path] = {}
        self._facts = ask(options, self._folder)
        self._attempts = Attempts(self._folder, self._facts, progress or Silent(), available)
        self._check()
        self._timing_cache = self._folder / TIMING_CACHE
        if TIMING_CACHE in self._earlier:
            self._timing_cache.write_bytes(self._earlier[TIMING_CACHE].read_bytes())
        self.floats: Tuple[str, ...] = ("fp32", "fp16") if options.dla_core is None else ("fp16",)
        self.families: Sequence[Recipe] = _families(self._facts, options)

    def build_float(self, finished: onnx.ModelProto, precision: str, file: Path) -> Built:
        exact = decoding_nodes(finished)
        order = self._order(precision, file)
        if precision == "fp32":
            return self._attempts.build(order, finished)
        if order.typed:
            return self._attempts.build(order, in_half(finished, exact))
        return self._attempts.build(msgspec.structs.replace(order, float_nodes=sorted(exact)), finished)

    def build_int8(
        self,
        finished: onnx.ModelProto,
        calibration: Calibration,
        recipe: Recipe,
        float_nodes: AbstractSet[str],
        file: Path,
    ) -> Built:
        exact = decoding_nodes(finished)
        order = self._order("int8", file)
        if order.typed:
            paired = emit(finished, calibration.ranges, recipe, TENSORRT, float_nodes)
            return self._attempts.build(order, in_half(paired, exact))
        order = msgspec.structs.replace(
            order,
            float_nodes=sorted(exact),
            half_nodes=sorted(float_nodes - exact),
            calibrator=_CALIBRATORS.get(recipe.algorithm, "entropy"),
            float_input=self._options.float_input,
        )
        graph = with_float_input(finished) if order.float_input else finished
        if recipe.algorithm in _CALIBRATORS:
            return self._build_calibrated(order, graph, calibration, recipe.algorithm)
        scales = calibration_cache(calibration.ranges, recipe.algorithm, _cache_version(self._facts.version))
        return self._attempts.build(msgspec.structs.replace(order, cache=scales.encode()), graph)

    def rank(
        self,
        finished: onnx.ModelProto,
        ranges: Ranges,
        layers: Sequence[str],
        head: AbstractSet[str],
        inputs: Sequence[NDArray[np.uint8]],
        on_layer: Callable[[], None],
    ) -> List[Damage]:
        """Simulated: TensorRT's numbers in ONNX Runtime, for a build a layer would take hours."""
        return rank_layers(
            finished, ranges, layers, head, inputs, algorithm=_RANKED_BY, target=TENSORRT, on_layer=on_layer
        )

    def record(self, built: Built) -> EngineRecord:
        facts = self._facts
        found = {"tensorrt": facts.release, "cuda": facts.cuda, "sm": facts.sm, "device": facts.device, "l4t": _l4t()}
        found["compatible"] = _compatible(self._options)
        versions = {name: value for name, value in found.items() if value}
        return EngineRecord(
            KIND, built.precision, versions=versions, machine=platform.machine(), layers=dict(built.layers)
        )

    def exact_nodes(self, finished: onnx.ModelProto) -> AbstractSet[str]:
        return decoding_nodes(finished)

    def extras(self) -> Dict[str, Path]:
        files = {**self._extras, TIMING_CACHE: self._timing_cache}
        return {name: file for name, file in files.items() if file.exists()}

    def _check(self) -> None:
        facts, dla = self._facts, self._options.dla_core
        if facts.calibrates and facts.version < (8, 5):
            raise BuildError(f"TensorRT {facts.release} is too old: 8.5 (JetPack 5.1) or later is needed")
        if facts.version[:3] == _REFUSED:
            raise BuildError(f"TensorRT {facts.release} builds faulty engines: install 10.3 or later")
        if dla is not None and self._profile.min != self._profile.max:
            raise BuildError(
                f"a DLA takes one fixed batch, not {self._profile.min} to {self._profile.max}: leave dla_core away, or "
                "give a model exported with a fixed batch of 1"
            )

    def _order(self, precision: str, file: Path) -> Order:
        typed = not self._facts.calibrates
        return Order(
            self._options,
            plan=str(file.resolve()),
            precision=precision,
            profile=self._profile,
            copies=1 if typed else profiles_wanted(self._facts.version),  # TensorRT-RTX counts its versions anew
            typed=typed,
            timing_cache="" if self._options.compute_capability else str(self._timing_cache),
        )

    def _build_calibrated(
        self, order: Order, graph: onnx.ModelProto, calibration: Calibration, algorithm: str
    ) -> Built:
        """Calibrated by TensorRT, unless it has done so for the same graph, pictures, algorithm and version."""
        content = graph.SerializeToString(deterministic=True)
        key = cache_key(content, calibration.key, algorithm, order.profile.opt, self._facts.release)
        name = f"calibration-{algorithm}.cache"
        self._extras[name] = file = self._folder / name
        known = load_cache(file, key)
        if not known and name in self._earlier:
            known = load_cache(self._earlier[name], key)
            if known:
                save_cache(file, key, known)
        order = msgspec.structs.replace(order, cache=known, pictures=calibration.count)
        return self._attempts.build(order, graph, calibration.inputs, lambda made: save_cache(file, key, made))


def _families(facts: Facts, options: TensorRtOptions) -> Tuple[Recipe, ...]:
    if not facts.calibrates:
        return tuple(Recipe(algorithm, "conv", _FLOAT_LAYERS) for algorithm in _EXPLICIT)
    own = [name for name in _CALIBRATORS if options.dla_core is None or name == "tensorrt-entropy"]
    return tuple(Recipe(algorithm, "", _FLOAT_LAYERS) for algorithm in (*own, *_OURS))


def _cache_version(version: Tuple[int, ...]) -> int:
    """As in the first line of TensorRT's own calibration caches: 8502 for 8.5.2, 100300 for 10.3.0."""
    major, minor, patch = (*version, 0, 0)[:3]
    return major * (1000 if major < 10 else 10000) + minor * 100 + patch


def _compatible(options: TensorRtOptions) -> str:
    """In what the engine may differ from the machine that loads it, as sightd.engine_fit reads it."""
    reach = {"version": options.version_compatible, "hardware": options.hardware_compatible}
    return " ".join(name for name, wide in reach.items() if wide)


def _l4t() -> str:
    """NVIDIA's release of a Jetson's system, "35.2.1"; empty elsewhere."""
    text = _TEGRA_RELEASE.read_text("utf-8", "replace") if _TEGRA_RELEASE.exists() else ""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""
