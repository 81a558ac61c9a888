"""Runs engines through the engine seam, as the daemon does: their detections and their latency."""

from __future__ import annotations

import time
from typing import Callable, Dict, Iterable, List, Mapping, Sequence

import numpy as np

from sightd import nms
from sightd.engines import Engine
from sightd.manifest import OutputSpec
from sightd.types import Detections, Image

__all__ = ["detect", "latencies"]


def detect(
    engine: Engine,
    images: Iterable[Image],
    output: OutputSpec,
    min_score: float,
    *,
    batch: int = 1,
    on_image: Callable[[], None] = lambda: None,
) -> List[Detections]:
    """The detections of each image in order, inferred *batch* at a time, down to *min_score*."""
    found: List[Detections] = []
    for chunk in _chunks(images, batch):
        slot = engine.slot()
        places = [slot.put(index, image) for index, image in enumerate(chunk)]
        candidates = engine.submit(slot, len(chunk)).result()
        found += nms.detections(candidates, places, min_score=min_score, iou=output.nms_iou)
        for _ in chunk:
            on_image()
    return found


def latencies(
    engines: Mapping[str, Engine], image: Image, batches: Sequence[int], *, rounds: int = 15
) -> Dict[str, Dict[str, Dict[str, float]]]:
    """p50_ms and p95_ms of submit to result: ``[engine name][batch size]``.

    The engines are warmed up as the daemon does it, which decides on CUDA graphs. They take turns round by round, so
    that a machine that slows down slows all of them.
    """
    for engine in engines.values():
        engine.warm_up(image)
    times: Dict[str, Dict[int, List[float]]] = {name: {batch: [] for batch in batches} for name in engines}
    for turn in range(rounds + 1):
        for batch in batches:
            for name, engine in engines.items():
                seconds = _one(engine, image, batch)
                if turn:  # the first round warms up
                    times[name][batch].append(seconds)
    return {
        name: {str(batch): _percentiles(values) for batch, values in by_batch.items()}
        for name, by_batch in times.items()
    }


def _one(engine: Engine, image: Image, batch: int) -> float:
    slot = engine.slot()
    for index in range(batch):
        slot.put(index, image)
    start = time.perf_counter()
    engine.submit(slot, batch).result()
    return time.perf_counter() - start


def _percentiles(seconds: Sequence[float]) -> Dict[str, float]:
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}


def _chunks(images: Iterable[Image], size: int) -> Iterable[List[Image]]:
    chunk: List[Image] = []
    for image in images:
        chunk.append(image)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
