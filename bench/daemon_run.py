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
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from daemon.service import Service
from sightd.engines import Engine
from sightd.manifest import EngineRecord, Manifest, ModelRecord, OutputSpec
from sightd.serving import Serving
from sightd.settings import load_settings
from sightd.types import InputSpec
from tests.parts.broker import Broker, running_broker

__all__ = [
    "Model",
    "Throughput",
    "file_cameras",
    "manifest_for",
    "running_models",
    "running_service",
    "throughput",
    "wait_until",
]

_BEGIN_S = 60.0
#: What a bundle would have said, and how its engine is opened.
Model = Tuple[Manifest, Callable[[], Engine]]


@dataclass(frozen=True)
class Throughput:
    """What a daemon did in a while."""

    fps: float
    #: The same by model, as the config calls their bundles.
    fps_of: Dict[str, float]
    #: CPU milliseconds a frame, by thread name without its number; "total" is all, decoder processes included.
    cpu_ms: Dict[str, float]


def manifest_for(spec: InputSpec, labels: List[str], head: str = "bench") -> Manifest:
    """A manifest for an engine that is in no bundle."""
    engine = EngineRecord("bench", "fp32")
    return Manifest(engine, ModelRecord("bench", "", 13), head, spec, labels, OutputSpec(min_score=0.3))


def file_cameras(clips: List[Path], pace: str, bundles: Sequence[str] = ()) -> str:
    """The cameras section of a config: one a clip, every frame; *bundles* in turn, the default one without any."""
    lines = ["cameras:"]
    for index, clip in enumerate(clips):
        model = f", bundle: {bundles[index % len(bundles)]}" if bundles else ""
        lines.append(f"  cam{index}: {{url: '{clip}', pace: {pace}, loop: true, max_fps: 0{model}}}")
    return "\n".join(lines) + "\n"


@contextmanager
def running_service(
    cameras: str, manifest: Manifest, open_engine: Callable[[], Engine]
) -> Iterator[Tuple[Service, Broker]]:
    """The daemon with the given cameras and one model, and the broker it publishes to, stopped at the end."""
    with running_models(f"bundle: /model\n{cameras}", {"/model": (manifest, open_engine)}) as running:
        yield running


@contextmanager
def running_models(config: str, models: Mapping[str, Model]) -> Iterator[Tuple[Service, Broker]]:
    """The same with several models; *config* names them as bundles."""
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder)) as broker:
        service = _service(Path(folder), broker, config, models)
        thread = threading.Thread(target=service.run)
        thread.start()
        try:
            yield service, broker
        finally:
            service.stop()
            thread.join()


def wait_until(begun: Callable[[], bool]) -> None:
    """Wait for frames to come through; an engine may take long to load and warm up.

    :raises SystemExit: none came.
    """
    deadline = time.monotonic() + _BEGIN_S
    while not begun():
        if time.monotonic() > deadline:
            raise SystemExit(f"no frame came through within {_BEGIN_S:.0f} s")
        time.sleep(0.05)


def throughput(service: Service, warm_up_s: float, seconds: float) -> Throughput:
    """Frames a second through *service* and what they cost, *warm_up_s* after the first."""
    wait_until(lambda: bool(service.counters.frames))
    time.sleep(warm_up_s)
    frames, cpu, started = Counter(service.counters.frames), _cpu_s(), time.monotonic()
    time.sleep(seconds)
    done_of = Counter(service.counters.frames) - frames
    elapsed = time.monotonic() - started
    done = sum(done_of.values())
    spent = _cpu_s()
    spent.subtract(cpu)
    return Throughput(
        done / elapsed,
        {bundle: count / elapsed for bundle, count in done_of.items()},
        {name: 1000 * used / max(1, done) for name, used in spent.items()},
    )


def _service(folder: Path, broker: Broker, text: str, models: Mapping[str, Model]) -> Service:
    config = folder / "sightd.yaml"
    config.write_text(f"node: bench\nmqtt: {{port: {broker.port}}}\noutbox: {{folder: outbox}}\n{text}")
    load = partial(load_settings, config)

    def open_serving(bundle: str) -> Serving:
        manifest, open_engine = models[bundle]
        return Serving(open_engine(), manifest)

    return Service(load(), {bundle: manifest for bundle, (manifest, _) in models.items()}, open_serving, load)


def _cpu_s() -> Counter[str]:
    """CPU seconds of this process so far, by thread name without its number, its decoder processes included."""
    decoders = sum(_ticks_s(Path("/proc", pid)) for pid in _decoders())
    used: Counter[str] = Counter({"total": time.process_time() + decoders, "cameras": decoders})
    for thread in threading.enumerate():
        name = thread.name.rstrip("0123456789_").replace("camera-cam", "cameras")
        used[name] += _ticks_s(Path(f"/proc/self/task/{thread.native_id}"))
    return used


def _ticks_s(process: Path) -> float:
    ticks = (process / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / 100


def _decoders() -> List[str]:
    """Process ids of what our children forked: of the server of the decoder processes, no other child forks any."""
    tasks = [f"/proc/self/task/{thread.native_id}" for thread in threading.enumerate()]
    return [pid for task in tasks for child in _children(task) for pid in _children(f"/proc/{child}/task/{child}")]


def _children(task: str) -> List[str]:
    return Path(task, "children").read_text("ascii").split()
