"""Peak memory of the ranges pass with few and with many frames: it must not grow with their number."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import cycle, islice
from typing import Dict, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from converter.int8.plan import watched_tensors
from converter.int8.ranges import collect_ranges
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from sightd.resize import resize_into
from sightd.types import InputSpec

from .assets import asset
from .models import MODELS, finished_model
from .result import Result

__all__ = ["run"]

_FEW, _MANY = 64, 512


def run(quick: bool) -> Result:
    """YOLOX-nano's activations over pictures of COCO's training set, each number of frames in a process of its own."""
    many = _FEW * 2 if quick else _MANY
    few, lots = _measured(_FEW), _measured(many)
    figures = {
        f"rss_mb_n{_FEW}": few["rss_mb"],
        f"rss_mb_n{many}": lots["rss_mb"],
        "ratio": round(lots["rss_mb"] / few["rss_mb"], 4),
        "seconds": lots["seconds"],
        "tensors": lots["tensors"],
        "bounds_seconds": lots["bounds_seconds"],
    }
    rows = [[_FEW, few["rss_mb"], few["seconds"]], [many, lots["rss_mb"], lots["seconds"]]]
    return Result("calibration-memory", figures, ["frames", "peak RSS (MB)", "seconds"], rows)


def _measured(frames: int) -> Dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.calibration_memory", str(frames)], capture_output=True, text=True, check=True
    )
    measured: Dict[str, float] = json.loads(done.stdout)
    return measured


def _pass(frames: int) -> Dict[str, float]:
    """Peak RSS and time of one pass in this process, and the time that all bounds take afterwards."""
    import resource

    finished = finished_model(MODELS[0])
    model = simplify(finished.model)
    tensors = watched_tensors(model, head_nodes(model))
    started = time.monotonic()
    ranges = collect_ranges(model, tensors, _inputs(finished.spec, frames))
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.monotonic()
    for algorithm in ("minmax", "percentile-99.99", "entropy", "mse"):
        for tensor in tensors:
            ranges.bounds(tensor, algorithm)
    bounds = time.monotonic() - started
    return {
        "rss_mb": round(peak, 1),
        "seconds": round(seconds, 1),
        "tensors": len(tensors),
        "bounds_seconds": round(bounds, 1),
    }


def _inputs(spec: InputSpec, count: int) -> Iterator[NDArray[np.uint8]]:
    for file in islice(cycle(sorted(asset("images/calib_coco_train80").glob("*.jpg"))), count):
        pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
        resize_into(pixels[0], np.asarray(cv2.imread(str(file)), np.uint8), spec)
        yield pixels


if __name__ == "__main__":
    print(json.dumps(_pass(int(sys.argv[1]))))
