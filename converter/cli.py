"""The converter's commands; `sightd capture` and `sightd crops` are here, each other one has a file of its own."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
import signal
import threading
from pathlib import Path
from typing import Dict, List, Optional

import msgspec
import typer
from typing_extensions import Annotated

from sightd.errors import ConfigError
from sightd.settings import DEFAULT_CONFIG, Settings, load_settings

from .bundle_cli import register as register_bundle
from .console import Console
from .convert_cli import register as register_convert

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the converter's commands to *app*."""
    app.command("capture")(_capture)
    app.command("crops")(_crops)
    register_convert(app)
    register_bundle(app)


def _capture(
    config: Annotated[Path, typer.Option(envvar="SIGHTD_CONFIG", help="The settings file.")] = DEFAULT_CONFIG,
    frames: Annotated[int, typer.Option(min=1, help="Frames to keep, shared evenly among the cameras.")] = 768,
    minutes: Annotated[float, typer.Option(min=0.01, help="Stop after so long, whatever was kept.")] = 60.0,
    fps: Annotated[float, typer.Option(min=0.001, help="Frames a second to look at, of each camera.")] = 2.0,
    status: Annotated[bool, typer.Option("--status", help="Say what the set holds and lacks, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The same for programs.")] = False,
) -> None:
    """Fill the calibration set with frames of the configured cameras, or say what it holds.

    Near-duplicates, black, blurred, frozen and corrupt frames are passed over, so a still scene takes its time.
    Run it again at another hour: the set grows. The daemon adds to it by itself with calibration.enabled: true.
    """
    from sightd.calibration_set import CalibrationSet

    from .calibration.capture import capture

    settings = load_settings(config)
    cameras = {name: camera for name, camera in settings.cameras.items() if camera.enabled}
    if status or json:
        _say_holding(settings.calibration.folder, list(cameras), json)
        return
    if not cameras:
        raise ConfigError(f"{config}: every camera is disabled: set enabled: true for one at least")
    limits = settings.calibration
    progress, stop = Console(), threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    timer = threading.Timer(minutes * 60, stop.set)
    timer.daemon = True
    timer.start()
    max_age_s = limits.max_age_days * 86400.0
    with CalibrationSet(limits.folder, limits.max_frames, limits.max_mb << 20, max_age_s) as kept:
        with progress.stage(f"frames of {len(cameras)} cameras", frames) as step:
            tallies = capture(cameras, kept, count=frames, fps=fps, stop=stop, on_kept=step)
        total = len(kept)
    timer.cancel()
    for camera, verdicts in tallies.items():
        counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        progress.say(f"{camera}: {counts or 'no frame came'}")
    progress.say(f"{limits.folder} holds {total} frames")
    for bundle, own in _cameras_by_bundle(settings).items():
        only = "".join(f" --camera {name}" for name in own if len(own) < len(cameras))
        progress.say(f"next: sightd convert MODEL --calibration {limits.folder}{only} --out {bundle}")


def _cameras_by_bundle(settings: Settings) -> Dict[str, List[str]]:
    """The enabled cameras of each model: their frames are what it is to be calibrated on."""
    by_bundle: Dict[str, List[str]] = {}
    for name, camera in settings.cameras.items():
        if camera.enabled:
            by_bundle.setdefault(settings.bundle_of(name), []).append(name)
    return by_bundle


def _crops(
    detector: Annotated[
        Path, typer.Argument(help="The bundle of the model that finds the objects.", show_default=False)
    ],
    calibration: Annotated[Path, typer.Option(help="A calibration set, or a folder of pictures.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder to write the crops to.", show_default=False)],
    objects: Annotated[
        Optional[List[str]], typer.Option("--object", metavar="LABEL", help="Take these only; repeatable.")
    ] = None,
    camera: Annotated[
        Optional[List[str]], typer.Option(metavar="NAME", help="Take frames of this camera only; repeatable.")
    ] = None,
    min_size: Annotated[int, typer.Option(min=1, help="Pixels that the shorter side must have.")] = 24,
    max_per_frame: Annotated[int, typer.Option(min=1, help="The largest are taken.")] = 8,
) -> None:
    """Cut what DETECTOR finds out of a calibration set: the pictures to convert a classifier on."""
    from .calibration.crops import write_crops

    progress = Console()
    counts = write_crops(
        detector,
        calibration,
        out,
        progress,
        objects=objects or (),
        cameras=camera or (),
        min_size=min_size,
        max_per_frame=max_per_frame,
    )
    for name, count in counts.items():
        progress.say(f"{name}: {count} crops")
    progress.say(f"next: sightd convert CLASSIFIER --head classifier --calibration {out} --labels NAMES --out BUNDLE")


def _say_holding(folder: Path, cameras: List[str], json: bool) -> None:
    from .calibration.capture_status import holding, sentences

    held = holding(folder, cameras)
    typer.echo(msgspec.json.encode(held).decode() if json else "\n".join(sentences(held)))
