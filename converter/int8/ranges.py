"""Activation ranges: one float pass over the calibration frames, kept as histograms of bounded size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray

from sightd.errors import CalibrationError

from ..model.session import Session
from .clipping import ALGORITHMS
from .histogram import Histogram

__all__ = ["Ranges", "collect_ranges"]


@dataclass(frozen=True)
class Ranges:
    """What one pass over the calibration frames saw."""

    #: By tensor, in the graph's order.
    histograms: Mapping[str, Histogram]
    frames: int
    #: [frames, tensors] the largest magnitude in each frame, tensors in the order of *histograms*.
    maxima: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    #: Bounds that were asked for already: the entropy of hundreds of tensors takes seconds.
    _known: Dict[Tuple[str, str, bool], Tuple[float, float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def bounds(self, tensor: str, algorithm: str, symmetric: bool = False) -> Tuple[float, float]:
        """(low, high) of *tensor* by one of converter.int8.clipping.ALGORITHMS.

        :param symmetric: whether the target's grid has its zero in the middle.
        :raises CalibrationError: the tensor was not watched.
        """
        if tensor not in self.histograms:
            raise CalibrationError(f"no range for tensor {tensor!r} ({algorithm}); calibrate this very model")
        wanted = tensor, algorithm, symmetric
        if wanted not in self._known:
            self._known[wanted] = ALGORITHMS[algorithm](self.histograms[tensor], symmetric)
        return self._known[wanted]

    def silent(self) -> List[str]:
        """The tensors that were zero in every frame: calibration says nothing about them."""
        return [name for name, seen in self.histograms.items() if seen.low == seen.high == 0]


def collect_ranges(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    inputs: Iterable[NDArray[Any]],
    *,
    on_frame: Callable[[int], None] = lambda frames: None,
) -> Ranges:
    """Run *model* on every one of *inputs* (its one input, batch 1) and watch *tensors* (float32).

    One frame is held at a time. *on_frame* is called after each with the number done so far.

    :raises CalibrationError: there is no frame, or a tensor became NaN or infinite.
    """
    session = _watching(model, tensors)
    histograms = {name: Histogram() for name in tensors}
    maxima: List[NDArray[np.float32]] = []
    for pixels in inputs:
        outputs = zip(tensors, session.run(pixels))
        largest = [_count(histograms[name], name, values, len(maxima)) for name, values in outputs]
        maxima.append(np.array(largest, np.float32))
        on_frame(len(maxima))
    if not maxima:
        raise CalibrationError("no calibration frames: capture some first (sightd capture)")
    return Ranges(histograms, len(maxima), np.stack(maxima))


def _count(histogram: Histogram, name: str, values: NDArray[np.float32], frame: int) -> float:
    try:
        return histogram.add(values)
    except ValueError as error:
        raise CalibrationError(
            f"tensor {name!r} has {error} in calibration frame {frame}: the float model itself fails on it; "
            "check the input spec (scale, mean, std) and the model"
        ) from error


def _watching(model: onnx.ModelProto, tensors: Sequence[str]) -> Session:
    """*model* with *tensors* as its outputs; what lies behind all of them is not computed."""
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    watching.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return Session(watching)
