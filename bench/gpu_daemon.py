"""The whole daemon on one TensorRT engine: share of the bare engine's throughput, time from frame to message."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any, Dict, List, Sequence

import msgspec
import numpy as np

from daemon.messages import DetectionsMessage
from sightd.sources import source_for
from tests.parts.broker import collect

from .assets import asset
from .daemon_run import file_cameras, manifest_for, running_service, throughput
from .gpu_engines import ModelEngines
from .gpu_speed import throughput as engine_throughput

__all__ = ["daemon_latency", "daemon_throughput"]

_CLIP = "videos/one-by-one-person-detection.mp4"
_WARM_UP_S = 3.0
#: For the first message of a daemon that has to load its engine.
_WAIT_S = 60.0


def daemon_throughput(engines: ModelEngines, name: str, streams: Sequence[int], seconds: float) -> Dict[str, Any]:
    """Number of file streams, read as fast as they go -> frames a second, and the ratio to what limits them.

    The engine alone, its slots filled before, and the decoders alone, a thread a stream, are two limits; the lower one
    is what the daemon could reach at best, less what both need of the same cores.
    """
    with engines.open(name) as engine:
        bare = engine_throughput(engine, engine.max_batch, engine.depth, seconds)
    found: Dict[str, Any] = {"bare_engine_fps": round(bare, 1)}
    for count in streams:
        decoders = _decoding_fps(count, seconds)
        with _running(engines, name, count, "fast") as (service, _):
            measured = throughput(service, _WARM_UP_S, seconds)
        found[str(count)] = {
            "fps": round(measured.fps, 1),
            "ratio_to_engine": round(measured.fps / bare, 4),
            "decoders_fps": round(decoders, 1),
            "ratio_to_limit": round(measured.fps / min(bare, decoders), 4),
            "cpu_ms_a_frame": {thread: round(ms, 3) for thread, ms in measured.cpu_ms.items()},
        }
    return found


def daemon_latency(engines: ModelEngines, name: str, streams: Sequence[int], seconds: float) -> Dict[str, Any]:
    """Number of streams at the clip's own pace -> ms from a frame's capture to its message at a subscriber."""
    found: Dict[str, Any] = {}
    for count in streams:
        with _running(engines, name, count, "live") as (_, broker), collect(
            broker, "sightd/bench/+/detections"
        ) as seen:
            seen.wait_until(lambda collector: bool(collector.messages), _WAIT_S)
            time.sleep(_WARM_UP_S)
            began = len(seen.messages)
            time.sleep(seconds)
            received = seen.messages[began:]
        decoded = [msgspec.json.decode(message.payload, type=DetectionsMessage) for message in received]
        ms = [1000 * (message.received_at - told.captured_at) for message, told in zip(received, decoded)]
        p50, p99 = np.percentile(ms, [50, 99]) if ms else (float("nan"), float("nan"))
        found[str(count)] = {
            "messages_s": round(len(ms) / seconds, 1),
            "p50_ms": round(float(p50), 2),
            "p99_ms": round(float(p99), 2),
        }
    return found


def _running(engines: ModelEngines, name: str, streams: int, pace: str) -> Any:
    finished = engines.finished
    cameras = file_cameras([asset(_CLIP)] * streams, pace)
    open_engine = partial(engines.open, name, preprocess="auto")
    return running_service(cameras, manifest_for(finished.spec, finished.labels), open_engine)


def _decoding_fps(count: int, seconds: float) -> float:
    """Frames that *count* decoders deliver together, each on a thread of its own."""
    done: List[int] = [0] * count
    stop = time.monotonic() + seconds
    threads = [threading.Thread(target=_decode, args=(index, done, stop)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def _decode(index: int, done: List[int], stop: float) -> None:
    source = source_for(str(asset(_CLIP)), pace="fast", loop=True)
    source.open()
    while time.monotonic() < stop:
        source.grab()
        source.retrieve()
        done[index] += 1
    source.close()
