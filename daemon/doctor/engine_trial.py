"""Run as a process: loads a bundle's engine as the daemon would, runs a picture and prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Dict

import numpy as np

from sightd.bundle import open_bundle
from sightd.engines import EngineOptions, open_engine
from sightd.errors import SightdError

__all__ = ["try_engine"]

_TIMED = 5


def try_engine(folder: Path, options: EngineOptions) -> Dict[str, float]:
    """How long loading with warming up took, and the fastest picture at batch 1: ``load_s`` and ``picture_ms``.

    :raises SightdError: it does not load or does not run.
    """
    bundle = open_bundle(folder)
    spec = bundle.manifest.input
    picture = np.zeros((spec.height, spec.width, 3), np.uint8)
    started = time.monotonic()
    with open_engine(bundle, options) as engine:
        engine.warm_up(picture)
        load_s = time.monotonic() - started
        times_s = []
        for _ in range(_TIMED):
            started = time.monotonic()
            slot = engine.slot()
            slot.put(0, picture)
            engine.submit(slot, 1).result()
            times_s.append(time.monotonic() - started)
    return {"load_s": load_s, "picture_ms": min(times_s) * 1000}


if __name__ == "__main__":
    try:
        print(json.dumps(try_engine(Path(sys.argv[1]), EngineOptions(int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201
    except SightdError as error:
        sys.exit(str(error))
