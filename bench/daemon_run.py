"""The real daemon with any engine, in this process, against a real mosquitto: counts what comes through."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

from daemon.service import Service
from sightd.bundle import EngineRecord, Manifest, ModelRecord, OutputSpec
from sightd.engines import Engine
from sightd.serving import Serving
from sightd.settings import load_settings
from sightd.types import InputSpec
from tests.parts.broker import Broker, running_broker

__all__ = ["Throughput", "file_cameras", "manifest_for", "running_service", "throughput"]


@dataclass(frozen=True)
class Throughput:
    """What a daemon did in a while."""

    fps: float
    #: CPU milliseconds a frame, by thread name without its number; "total" is the whole process.
    cpu_ms: Dict[str, float]


def manifest_for(spec: InputSpec, labels: List[str]) -> Manifest:
    """A manifest for an engine that is in no bundle."""
    engine = EngineRecord("bench", "fp32")
    return Manifest(engine, ModelRecord("bench", "", 13), "bench", spec, labels, OutputSpec(min_score=0.3))


def file_cameras(clips: List[Path], pace: str) -> str:
    """The cameras section of a config: one a clip, every frame."""
    lines = ["cameras:"]
    for index, clip in enumerate(clips):
        lines.append(f"  cam{index}: {{url: '{clip}', pace: {pace}, loop: true, max_fps: 0}}")
    return "\n".join(lines) + "\n"


@contextmanager
def running_service(
    cameras: str, manifest: Manifest, open_engine: Callable[[], Engine]
) -> Iterator[Tuple[Service, Broker]]:
    """The daemon with the given cameras and the broker it publishes to, stopped at the end."""
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder)) as broker:
        service = _service(Path(folder), broker, cameras, manifest, open_engine)
        thread = threading.Thread(target=service.run)
        thread.start()
        try:
            yield service, broker
        finally:
            service.stop()
            thread.join()


def throughput(service: Service, warm_up_s: float, seconds: float) -> Throughput:
    """Frames a second through *service* and what they cost, after *warm_up_s*."""
    time.sleep(warm_up_s)
    frames, cpu, started = _frames(service), _cpu_s(), time.monotonic()
    time.sleep(seconds)
    done = _frames(service) - frames
    elapsed = time.monotonic() - started
    spent = _cpu_s()
    spent.subtract(cpu)
    return Throughput(done / elapsed, {name: 1000 * used / max(1, done) for name, used in spent.items()})


def _service(
    folder: Path, broker: Broker, cameras: str, manifest: Manifest, open_engine: Callable[[], Engine]
) -> Service:
    config = folder / "sightd.yaml"
    config.write_text(f"node: bench\nmqtt: {{port: {broker.port}}}\n{cameras}")
    load = partial(load_settings, config)
    settings = load()
    manifests = dict.fromkeys(settings.bundles, manifest)
    return Service(settings, manifests, lambda _: Serving(open_engine(), manifest), load)


def _frames(service: Service) -> int:
    return sum(service.counters.inferred.values())


def _cpu_s() -> Counter[str]:
    """CPU seconds of this process so far, by thread name without its number."""
    used: Counter[str] = Counter({"total": time.process_time()})
    for thread in threading.enumerate():
        stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text("ascii", "replace")
        ticks = stat.rpartition(")")[2].split()[11:13]
        name = thread.name.rstrip("0123456789_").replace("camera-cam", "cameras")
        used[name] += sum(map(int, ticks)) / 100
    return used
