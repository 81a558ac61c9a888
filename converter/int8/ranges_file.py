"""Ranges as a file: what one calibration pass saw, bound to the graph, the frames and the input spec it came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict

import msgspec
import numpy as np
import onnx

from sightd.bounded import read_arrays
from sightd.errors import CalibrationError
from sightd.types import InputSpec

from .histogram import Histogram
from .ranges import Ranges

__all__ = ["load_ranges", "ranges_key", "save_ranges"]

_ARRAYS = ("key", "tensors", "extremes", "places", "counts", "maxima")
#: A histogram a tensor and a maximum a tensor and frame: a large model's take some tens of megabytes.
_MAX_BYTES = 1 << 30


def ranges_key(model: onnx.ModelProto, dataset_sha256: str, spec: InputSpec) -> str:
    """The hash of all that ranges depend on: the graph, the calibration frames and how a picture becomes its input."""
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    digest.update(dataset_sha256.encode())
    digest.update(msgspec.json.encode(spec, order="sorted"))
    return digest.hexdigest()


def save_ranges(path: Path, ranges: Ranges, key: str) -> None:
    """Write *ranges* as a compressed .npz without pickles.

    :param key: see :func:`ranges_key`.
    """
    seen = list(ranges.histograms.values())
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            key=np.array(key),
            tensors=np.array(list(ranges.histograms), np.str_),
            extremes=np.array([(one.low, one.high) for one in seen], np.float64).reshape(-1, 2),
            places=np.array([(one.exponent, one.first) for one in seen], np.int64).reshape(-1, 2),
            counts=np.array([one.counts for one in seen], np.int64),
            maxima=ranges.maxima,
        )


def load_ranges(path: Path, key: str) -> Ranges:
    """The ranges that :func:`save_ranges` wrote.

    :raises CalibrationError: they can't be read, or are those of another model, set of frames or input spec.
    """
    try:
        found: Dict[str, Any] = read_arrays(path, _ARRAYS, _MAX_BYTES)
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: no ranges, or damaged ones ({error}); calibrate again") from error
    if str(found["key"]) != key:
        raise CalibrationError(f"{path}: ranges of another model, other frames or another input; calibrate again")
    histograms = {}
    rows = zip(found["tensors"].tolist(), found["extremes"].tolist(), found["places"].tolist(), found["counts"])
    for name, (low, high), (exponent, first), counts in rows:
        histograms[name] = seen = Histogram()
        seen.low, seen.high, seen.exponent, seen.first, seen.counts = low, high, exponent, first, counts
    return Ranges(histograms, len(found["maxima"]), found["maxima"])
