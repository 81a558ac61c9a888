"""The builder seam: what a conversion knows of any engine kind that it can build."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import AbstractSet, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.manifest import EngineRecord

from ..int8.plan import plan_int8
from ..int8.ranges import Ranges
from ..int8.sensitivity import Damage
from ..search import Recipe

__all__ = ["Builder", "Built", "Calibration"]


@dataclass(frozen=True)
class Calibration:
    """What INT8 is calibrated with."""

    #: Of one float pass over the frames, in ONNX Runtime.
    ranges: Ranges
    #: Reads the frames anew, each as the engine's input: [1, H, W, 3] uint8 BGR.
    inputs: Callable[[], Iterator[NDArray[np.uint8]]]
    #: How many *inputs* yields.
    count: int
    #: Hash of the graph, the frames and the input spec.
    key: str


@dataclass(frozen=True)
class Built:
    """An engine file that was built and not judged yet."""

    file: Path
    #: "int8", "fp16" or "fp32".
    precision: str
    seconds: float = 0.0
    #: Of the process that built it; 0: not known.
    peak_rss_mb: float = 0.0
    #: Precision found -> number of layers that compute in it; empty where the engine does not tell.
    layers: Mapping[str, int] = field(default_factory=dict)
    #: What people should know of the build: warnings, attempts that failed before.
    notes: Tuple[str, ...] = ()


class Builder(ABC):
    """Builds engines of one kind on this machine."""

    #: The engine kind in the manifest.
    kind: str
    #: Of its engine files, with the dot.
    suffix: str
    #: Precisions without INT8, the most exact first.
    floats: Tuple[str, ...] = ("fp32",)
    #: Precision of the layers that an INT8 engine keeps float.
    below_int8: str = "fp32"
    #: Families of recipes that the search tries, in this order.
    families: Sequence[Recipe]

    @abstractmethod
    def build_float(self, finished: onnx.ModelProto, precision: str, file: Path) -> Built:
        """Build the finished graph without INT8.

        :param precision: one of ``floats``.
        :raises BuildError: it can't be built here; says why and what to do.
        """

    @abstractmethod
    def build_int8(
        self,
        finished: onnx.ModelProto,
        calibration: Calibration,
        recipe: Recipe,
        float_nodes: AbstractSet[str],
        file: Path,
    ) -> Built:
        """Build the finished graph in INT8 all but for *float_nodes*.

        :raises BuildError: it can't be built here; says why and what to do.
        """

    @abstractmethod
    def rank(
        self,
        finished: onnx.ModelProto,
        ranges: Ranges,
        layers: Sequence[str],
        head: AbstractSet[str],
        inputs: Sequence[NDArray[np.uint8]],
        on_layer: Callable[[], None],
    ) -> List[Damage]:
        """*layers* by the damage that INT8 does in each (:func:`converter.int8.sensitivity.rank_layers`)."""

    @abstractmethod
    def record(self, built: Built) -> EngineRecord:
        """What the manifest says about an engine built here and now."""

    def better_float(self, finished: onnx.ModelProto, layers: Sequence[str]) -> AbstractSet[str]:
        """Those of *layers* that INT8 only slows down on this machine."""
        return frozenset()

    def int8_nodes(self, finished: onnx.ModelProto, float_nodes: AbstractSet[str], scope: str) -> AbstractSet[str]:
        """The names of the nodes that :meth:`build_int8` asks to compute in INT8; those that INT8 fuses are gone."""
        return plan_int8(finished, float_nodes, scope or "all").int8

    def exact_nodes(self, finished: onnx.ModelProto) -> AbstractSet[str]:
        """The names of the nodes that compute in float32 in engines of any precision."""
        return frozenset()

    def extras(self) -> Dict[str, Path]:
        """Further files for the bundle by their names in it: what makes the next build quicker."""
        return {}
