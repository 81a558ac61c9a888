"""From a frame's capture to its message at a subscriber: four live RTSP streams of real clips."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

import msgspec
import numpy as np

from daemon.messages import DetectionsMessage
from sightd.engines import EngineOptions, load_engine
from tests.parts.broker import Broker, Collector, collect
from tests.parts.rtsp import RtspServer

from .assets import asset
from .daemon_run import manifest_for, running_service
from .models import MODELS, finished_file
from .result import Result

__all__ = ["run"]

_CLIPS = ("one-by-one-person-detection.mp4", "bikes.mp4", "vtest.avi", "bgs_video02.avi")
_MAX_FPS = 10


def run(quick: bool) -> Result:
    """YOLOX-nano in float on ONNX Runtime; `latency` is captured_at to arrival, both on this machine's clock."""
    seconds = 10.0 if quick else 60.0
    with tempfile.TemporaryDirectory() as folder:
        file, finished = finished_file(MODELS[0], Path(folder))
        engine = partial(load_engine, "onnxruntime", file, finished.spec, finished.max_batch, EngineOptions())
        with RtspServer(*(str(asset(f"videos/{clip}")) for clip in _CLIPS)) as server:
            cameras = "cameras:\n" + "".join(
                f"  cam{index}: {{url: '{server.url(index)}', max_fps: {_MAX_FPS}}}\n" for index in range(len(_CLIPS))
            )
            with running_service(cameras, manifest_for(finished.spec, finished.labels), engine) as (_, broker):
                return _measured(broker, seconds)


def _measured(broker: Broker, seconds: float) -> Result:
    with collect(broker, "sightd/bench/+/detections") as seen:
        seen.wait_until(lambda c: len({message.topic for message in c.messages}) == len(_CLIPS), 30)
        began = len(seen.messages)
        time.sleep(seconds)
        return _result(seen, began, seconds)


def _result(seen: Collector, began: int, seconds: float) -> Result:
    messages = seen.messages[began:]
    decoded = [msgspec.json.decode(message.payload, type=DetectionsMessage) for message in messages]
    latency_ms = [(message.received_at - found.captured_at) * 1000 for message, found in zip(messages, decoded)]
    infer_ms = [found.latency_ms.infer for found in decoded]
    rows: List[List[Any]] = []
    for camera in sorted({found.camera for found in decoded}):
        own = [value for value, found in zip(latency_ms, decoded) if found.camera == camera]
        objects = sum(len(found.objects) for found in decoded if found.camera == camera)
        rows.append([camera, len(own) / seconds, *_percentiles(own), objects])
    p50, p99 = _percentiles(latency_ms)
    rows.append(["all", len(latency_ms) / seconds, p50, p99, sum(len(found.objects) for found in decoded)])
    figures: Dict[str, Any] = {
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
        "batch_ms": round(float(np.median(infer_ms)), 1),
        "fps": round(len(latency_ms) / seconds, 1),
    }
    conditions = {"clips": list(_CLIPS), "max_fps": _MAX_FPS, "seconds": seconds, "engine": "onnxruntime fp32"}
    return Result("latency", figures, ["camera", "messages/s", "p50 ms", "p99 ms", "objects"], rows, conditions)


def _percentiles(values: List[float]) -> List[float]:
    return [float(value) for value in np.percentile(values, [50, 99])]
