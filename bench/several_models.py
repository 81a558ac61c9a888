"""Several models in one daemon over the bare engines: who gets what, and what a classifier costs.

Stub engines sleep, as GPUs of their own would look to the host; real ones share this machine's cores, so there the bare
engines run side by side, too.
"""

from __future__ import annotations

import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from daemon.rules import CLASSIFIER
from sightd.engines import Engine, EngineOptions, Ticket, load_engine
from sightd.engines.stub import StubEngine
from sightd.sources import source_for
from sightd.types import Image, InputSpec

from .assets import asset
from .daemon_run import Model, Throughput, file_cameras, manifest_for, running_models, throughput
from .models import MODELS, finished_file
from .result import Result

__all__ = ["run"]

_CLIP = "videos/one-by-one-person-detection.mp4"
_SPEC = InputSpec(640, 640, resize="letterbox-topleft")  # where the stub's boxes are on the picture, not on the border
_CROP = InputSpec(64, 64, resize="stretch")
#: Milliseconds a picture of the two stub detectors, and a crop of the stub classifier.
_SLOW_MS, _FAST_MS, _CROP_MS = 16, 4, 0.2
_ROUNDS = 3
_REAL = (MODELS[0], MODELS[2])  # YOLOX-nano takes five times as long as FastestDet


def run(quick: bool) -> Result:
    """Four files as fast as they go, two a model; ratios are throughput over the bare engine's."""
    seconds = 4.0 if quick else 15.0
    slow, fast = _stub(_SLOW_MS), _stub(_FAST_MS)
    alone, _ = _measure({"/fast": fast}, seconds)
    both, _ = _measure({"/slow": slow, "/fast": fast}, seconds)
    crops, crops_a_frame = _measure({"/fast": fast, "/crops": _classifier()}, seconds)
    rows: List[List[Any]] = [
        ["one stub", f"{_FAST_MS} ms", _ratio(alone, "/fast", _FAST_MS), alone.cpu_ms["inference"]],
        ["two stubs", f"{_SLOW_MS} ms", _ratio(both, "/slow", _SLOW_MS), both.cpu_ms["inference"]],
        ["", f"{_FAST_MS} ms", _ratio(both, "/fast", _FAST_MS), both.cpu_ms["inference"]],
        ["stub + classifier", f"{_FAST_MS} ms", _ratio(crops, "/fast", _FAST_MS), crops.cpu_ms["inference"]],
    ]
    names = ("ratio_alone", "ratio_slow", "ratio_fast", "ratio_classified")
    figures: Dict[str, Any] = {name: round(row[2], 4) for name, row in zip(names, rows)}
    figures["classifier_cpu_ms"] = round(crops.cpu_ms["total"] - alone.cpu_ms["total"], 3)
    for name, ratio in _real(seconds).items():
        figures[f"ratio_{name}"] = round(ratio, 4)
        rows.append(["two real ones", name, ratio, ""])
    conditions = {"clip": _CLIP, "streams": 4, "crop_ms": _CROP_MS, "crops_a_frame": round(crops_a_frame, 2)}
    return Result("models", figures, ["daemon", "model", "ratio", "inference CPU ms"], rows, conditions)


def _stub(picture_ms: float) -> Model:
    engine = partial(StubEngine, _SPEC, picture_s=picture_ms / 1000, max_batch=4, objects=8)
    return manifest_for(_SPEC, ["thing"]), engine


def _classifier() -> Model:
    engine = partial(StubEngine, _CROP, picture_s=_CROP_MS / 1000, max_batch=32, objects=1)
    return manifest_for(_CROP, ["kind"], CLASSIFIER), engine


def _measure(models: Dict[str, Model], seconds: float) -> Tuple[Throughput, float]:
    """What the daemon does with *models*, two cameras or four each, and how many crops a frame it looks at."""
    detectors = [name for name, (manifest, _) in models.items() if manifest.head != CLASSIFIER]
    more = "classifiers: {kind: {bundle: /crops, min_size: 1}}\n" if "/crops" in models else ""
    cameras = file_cameras([asset(_CLIP)] * 4, "fast", detectors)
    with running_models(more + cameras, models) as (service, _):
        measured = throughput(service, 2.0, seconds)
        counted = service.counters
        return measured, sum(counted.crops.values()) / max(1, sum(counted.frames.values()))


def _ratio(measured: Throughput, bundle: str, picture_ms: float) -> float:
    return measured.fps_of[bundle] * picture_ms / 1000


def _real(seconds: float) -> Dict[str, float]:
    """By model: frames in the daemon over pictures in the bare engine, while the other one works as well.

    Both for a second of this process's CPU time, since that is what they share and what other load leaves alone: what
    is missing to 1 is the daemon's own work on the same cores (decoding, NMS, messages).
    """
    with tempfile.TemporaryDirectory() as folder:
        models: Dict[str, Model] = {}
        for model in _REAL:
            file, finished = finished_file(model, Path(folder))
            engine = partial(load_engine, "onnxruntime", file, finished.spec, finished.max_batch, EngineOptions())
            models[f"/{model.name}"] = manifest_for(finished.spec, finished.labels), engine
        ratios: Dict[str, List[float]] = {name: [] for name in models}
        for _ in range(_ROUNDS):
            bare = _side_by_side({name: engine for name, (_, engine) in models.items()}, seconds / _ROUNDS)
            measured, _ = _measure(models, seconds / _ROUNDS)
            busy = measured.fps * measured.cpu_ms["total"] / 1000  # CPU seconds a second
            for name, own in ratios.items():
                own.append(measured.fps_of[name] / busy / bare[name])
    return {name.strip("/"): float(np.median(own)) for name, own in ratios.items()}


def _side_by_side(engines: Dict[str, Callable[[], Engine]], seconds: float) -> Dict[str, float]:
    """Pictures a CPU second of each bare engine, each kept busy by a thread of its own with a picture that is there."""
    image = _first_picture()
    rates: Dict[str, float] = {}
    threads = [
        threading.Thread(target=lambda item=item: rates.update({item[0]: _rate(item[1], image, seconds)}))
        for item in engines.items()
    ]
    cpu_s, started = time.process_time(), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    busy = (time.process_time() - cpu_s) / (time.monotonic() - started)
    return {name: rate / busy for name, rate in rates.items()}


def _rate(open_engine: Callable[[], Engine], image: Image, seconds: float) -> float:
    with open_engine() as engine:
        engine.warm_up(image)
        under_way: List[Tuple[Ticket, int]] = []
        done, started = 0, time.monotonic()
        while time.monotonic() < started + seconds:
            slot = engine.slot()
            for index in range(2):  # as many as its cameras in the daemon
                slot.put(index, image)
            under_way.append((engine.submit(slot, 2), 2))
            if len(under_way) == engine.depth:
                ticket, count = under_way.pop(0)
                ticket.result()
                done += count
        elapsed = time.monotonic() - started
        for ticket, _ in under_way:
            ticket.result()
        return done / elapsed


def _first_picture() -> Image:
    source = source_for(str(asset(_CLIP)), pace="fast", loop=True)
    source.open()
    source.grab()
    image = source.retrieve()
    source.close()
    return image
