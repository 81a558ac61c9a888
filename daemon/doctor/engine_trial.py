"""Run as a process: opens what would serve a bundle, as the daemon does, runs a picture, prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict

import numpy as np

from sightd.bundle import open_bundle
from sightd.engines import EngineOptions, versions_here
from sightd.errors import SightdError
from sightd.serving import open_serving

__all__ = ["try_engine"]

_TIMED = 5


def try_engine(folder: Path, options: EngineOptions) -> Dict[str, Any]:
    """How long loading with warming up took, and the fastest picture at batch 1: ``load_s`` and ``picture_ms``.

    Also ``fallback_reason``: why it is not the bundle's own engine, else ""; and ``versions``: of what runs it, here.

    :raises SightdError: nothing loads, or it does not run.
    """
    started = time.monotonic()
    serving = open_serving(open_bundle(folder), options)
    spec = serving.manifest.input
    picture = np.zeros((spec.height, spec.width, 3), np.uint8)
    with serving.engine as engine:
        engine.warm_up(picture)
        load_s = time.monotonic() - started
        times_s = []
        for _ in range(_TIMED):
            started = time.monotonic()
            slot = engine.slot()
            slot.put(0, picture)
            engine.submit(slot, 1).result()
            times_s.append(time.monotonic() - started)
    return {
        "load_s": load_s,
        "picture_ms": min(times_s) * 1000,
        "fallback_reason": serving.fallback_reason,
        "versions": versions_here(serving.manifest.engine.kind),
    }


if __name__ == "__main__":
    options = EngineOptions(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    try:
        print(json.dumps(try_engine(Path(sys.argv[1]), options)))  # noqa: T201
    except SightdError as error:
        sys.exit(str(error))
