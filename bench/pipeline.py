"""The whole daemon over the bare engine: four files as fast as they go, real decoding, resizing, NMS and MQTT."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

from sightd.engines.stub import StubEngine
from sightd.sources import source_for
from sightd.types import InputSpec

from .clips import playable
from .daemon_run import Throughput, file_cameras, manifest_for, running_service, throughput
from .result import Result

__all__ = ["run"]

_CLIP = "one-by-one-person-detection.mp4"
_SPEC = InputSpec(640, 640)
_STAGES = ("cameras", "inference", "analysis", "publisher", "total")


def run(quick: bool) -> Result:
    """Stub engines that take 4 and 2 ms a picture, as a GPU would; the ratio is throughput over theirs."""
    with playable(_CLIP) as clip:
        return _run(quick, clip)


def _run(quick: bool, clip: Path) -> Result:
    seconds = 4.0 if quick else 15.0
    figures: Dict[str, Any] = {}
    rows: List[List[Any]] = []
    floor_ms = _decode_floor_ms(clip)
    for picture_ms in (4, 2):
        measured = _measure(clip, picture_ms / 1000, seconds)
        ratio = measured.fps * picture_ms / 1000
        figures[f"ratio_stub{picture_ms}"] = round(ratio, 4)
        figures[f"cpu_ms_stub{picture_ms}"] = {name: round(measured.cpu_ms[name], 3) for name in _STAGES}
        rows.append([f"stub {picture_ms} ms", ratio, *(measured.cpu_ms[name] for name in _STAGES)])
    figures["cpu_over_decode_floor"] = round(measured.cpu_ms["total"] / floor_ms, 3)
    columns = ["engine", "ratio", *(f"{name} CPU ms" for name in _STAGES)]
    conditions = {"clip": clip.name, "streams": 4, "input": "640x640", "decode_floor_ms": round(floor_ms, 3)}
    return Result("pipeline", figures, columns, rows, conditions)


def _measure(clip: Path, picture_s: float, seconds: float) -> Throughput:
    cameras = file_cameras([clip] * 4, "fast")
    engine = partial(StubEngine, _SPEC, picture_s=picture_s, max_batch=4)
    with running_service(cameras, manifest_for(_SPEC, ["thing"]), engine) as (service, _):
        return throughput(service, 2.0, seconds)


def _decode_floor_ms(clip: Path, frames: int = 600) -> float:
    """CPU milliseconds to decode and convert one frame, nothing else: one source alone."""
    source = source_for(str(clip), pace="fast", loop=True)
    source.open()
    started = time.process_time()
    for _ in range(frames):
        source.grab()
        source.retrieve()
    spent = time.process_time() - started
    source.close()
    return 1000 * spent / frames
