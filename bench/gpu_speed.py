"""How fast a TensorRT engine is and what it holds: latency, throughput, preprocessing, overlap, memory."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Deque, Dict, List, Sequence

import cv2
import numpy as np

from converter.agreement.measure import latencies
from sightd.engines import Engine, Ticket
from sightd.engines.cuda import Cuda
from sightd.types import Image

from .assets import asset
from .gpu_engines import ModelEngines

__all__ = ["engine_speed", "memory", "overlap", "preprocessing", "throughput"]

_ROUNDS = 60
_SECONDS = 2.0


def engine_speed(engines: ModelEngines, batches: Sequence[int], seconds: float = 1.0) -> Dict[str, Any]:
    """Engine -> batch -> p50_ms and p95_ms from submit to result with copies, pictures_s of filled slots.

    The sizes take turns, as in a daemon. "graphs": those that run as CUDA graphs.
    """
    found: Dict[str, Any] = {}
    for name in engines.names():
        with engines.open(name) as engine:
            usable = [batch for batch in batches if batch <= engine.max_batch]
            timed: Dict[str, Any] = latencies({name: engine}, _picture(), usable, rounds=_ROUNDS)[name]
            for batch in usable:
                timed[str(batch)]["pictures_s"] = round(throughput(engine, batch, engine.depth, seconds), 1)
            timed["graphs"] = list(getattr(engine, "graph_batches", tuple)())
            found[name] = timed
    return found


def throughput(engine: Engine, batch: int, depth: int, seconds: float, image: Any = None) -> float:
    """Pictures a second with *depth* batches under way; with *image* each is put anew, else slots keep theirs."""
    under_way: Deque[Ticket] = deque()
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        slot = engine.slot()
        for index in range(batch if image is not None else 0):
            slot.put(index, image)
        under_way.append(engine.submit(slot, batch))
        if len(under_way) == depth:
            under_way.popleft().result()
            done += batch
    while under_way:
        under_way.popleft().result()
        done += batch
    return done / (time.perf_counter() - began)


def overlap(engines: ModelEngines, name: str, batch: int) -> Dict[str, Any]:
    """One batch after the other against one in each slot: a gain above 1 is copies hidden behind computing."""
    with engines.open(name) as engine:
        batch = min(batch, engine.max_batch)
        engine.warm_up(_picture())
        serial = throughput(engine, batch, 1, _SECONDS)
        piped = throughput(engine, batch, engine.depth, _SECONDS)
        return {
            "batch": batch,
            "depth": engine.depth,
            "serial_pictures_s": round(serial, 1),
            "pipelined_pictures_s": round(piped, 1),
            "gain": round(piped / serial, 3),
        }


def preprocessing(engines: ModelEngines, name: str, batch: int) -> Dict[str, Any]:
    """The letterbox on the CPU against that on the GPU, of 1280 x 720: pictures a second and time in put()."""
    found: Dict[str, Any] = {}
    frame = np.asarray(cv2.resize(_picture(), (1280, 720)), np.uint8)
    for where in ("cpu", "gpu"):
        with engines.open(name, preprocess=where) as engine:
            size = min(batch, engine.max_batch)
            engine.warm_up(frame)
            whole = throughput(engine, size, engine.depth, _SECONDS, frame)
            found[where] = {"pictures_s": round(whole, 1), "put_ms": round(_put_ms(engine, frame, size), 4)}
    found["gain"] = round(found["gpu"]["pictures_s"] / found["cpu"]["pictures_s"], 3)
    return found


def memory(engines: ModelEngines) -> Dict[str, float]:
    """MB of GPU memory that each engine takes when warm, beside the context and the libraries that all share."""
    found: Dict[str, float] = {}
    with Cuda() as cuda:  # holds the context, so that an engine's own share shows
        names = engines.names()
        with engines.open(names[0]) as engine:
            engine.warm_up(_picture())  # loads the libraries' kernels
        for name in names:
            before = cuda.memory()[0]
            with engines.open(name) as engine:
                engine.warm_up(_picture())
                found[name] = round((before - cuda.memory()[0]) / 2**20, 1)
    return found


def _put_ms(engine: Engine, frame: Image, batch: int) -> float:
    times: List[float] = []
    for _ in range(_ROUNDS):
        slot = engine.slot()
        began = time.perf_counter()
        for index in range(batch):
            slot.put(index, frame)
        times.append(time.perf_counter() - began)
        engine.submit(slot, batch).result()
    return 1000 * float(np.median(times)) / batch


def _picture() -> Image:
    file = next(iter(sorted(asset("images/coco_val_dev100/images").glob("*.jpg"))))
    return np.asarray(cv2.imread(str(file)), np.uint8)
