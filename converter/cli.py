"""The converter's commands: `sightd capture` and `sightd convert`."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
import shlex
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from typing_extensions import Annotated

from sightd.errors import ConfigError, DisagreementError
from sightd.settings import DEFAULT_CONFIG, load_settings

from .agreement.thresholds import Thresholds
from .bundle_cli import register as register_bundle
from .progress import Progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the converter's commands to *app*."""
    app.command("capture")(_capture)
    app.command("convert")(_convert)
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
    progress, stop = _Console(), threading.Event()
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
    progress.say(f"{limits.folder} holds {total} frames; next: sightd convert MODEL --calibration {limits.folder}")


def _say_holding(folder: Path, cameras: List[str], json: bool) -> None:
    from .calibration.capture_status import holding, sentences

    held = holding(folder, cameras)
    typer.echo(msgspec.json.encode(held).decode() if json else "\n".join(sentences(held)))


def _convert(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(help="An ONNX file; PyTorch weights, with --factory; with --watch, a folder of them.")
    ],
    calibration: Annotated[Path, typer.Option(help="A calibration set, or a folder of pictures.")],
    out: Annotated[Path, typer.Option(help="The bundle to write or replace.")],
    labels: Annotated[str, typer.Option(help="coco80, or a file with one name a line; else the model's own.")] = "",
    head: Annotated[str, typer.Option(help="The head's family; recognised where it is unambiguous.")] = "",
    head_option: Annotated[Optional[List[str]], typer.Option(metavar="KEY=VALUE", help="Repeatable.")] = None,
    spec: Annotated[
        Optional[List[str]],
        typer.Option(metavar="KEY=VALUE", help="Input spec: resize, pad_value, channel_order, scale, mean, std ..."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="WIDTHxHEIGHT", help="Input size, where the model leaves it open.")] = "",
    factory: Annotated[str, typer.Option(metavar="MODULE:FUNCTION", help="Makes the torch module for weights.")] = "",
    opset: Annotated[int, typer.Option(min=13, max=17, help="ONNX opset of the export.")] = 13,
    frames: Annotated[int, typer.Option(min=8, help="Frames to calibrate on, at most.")] = 512,
    holdout: Annotated[int, typer.Option(min=1, help="Frames to judge on, at most; evidence decides.")] = 500,
    config: Annotated[
        Optional[Path], typer.Option(help="Settings file whose agreement section is to be reached; else the defaults.")
    ] = None,
    min_score: Annotated[
        Optional[float], typer.Option(min=0.05, max=0.89, help="Score from which a box counts; else as configured.")
    ] = None,
    truth: Annotated[
        Optional[Path], typer.Option(help="Annotations (COCO's instances JSON) of labelled pictures: real mAP too.")
    ] = None,
    truth_images: Annotated[
        Optional[Path], typer.Option(help="Their folder; else the annotations' own, or images in it.")
    ] = None,
    max_trials: Annotated[int, typer.Option(min=1, help="INT8 engines to build and judge, at most.")] = 12,
    max_minutes: Annotated[float, typer.Option(min=0, help="After which no further one is begun.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the choice of frames.")] = 0,
    camera: Annotated[
        Optional[List[str]], typer.Option(metavar="NAME", help="Take frames of this camera only; repeatable.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Convert whatever appears in the folder, until SIGTERM.")
    ] = False,
    on_success: Annotated[
        Optional[str], typer.Option(metavar="COMMAND", help="With --watch: run it when a new version is in service.")
    ] = None,
) -> None:
    """Make an INT8 engine of MODEL, calibrated and judged on your own frames.

    Exit code 3: INT8 did not agree with the float model, or could not be judged; the bundle holds float.
    """
    if watch:
        _watch(context, model, on_success)
        return
    from .convert import convert
    from .request import Request

    request = Request(
        model=model,
        calibration=calibration,
        out=out,
        factory=factory,
        head=head,
        head_options=_pairs(head_option, "--head-option"),
        labels=labels,
        spec=_spec(spec),
        size=_size(size),
        opset=opset,
        frames=frames,
        holdout=holdout,
        seed=seed,
        cameras=camera or (),
        max_trials=max_trials,
        max_minutes=max_minutes,
        thresholds=_thresholds(config, min_score),
        truth=truth,
        truth_images=truth_images,
        command=" ".join(map(shlex.quote, ["sightd", *sys.argv[1:]])),
    )
    progress = _Console()
    result = convert(request, progress)
    verdict = result.verdict
    progress.say(f"bundle: {result.bundle.folder}")
    progress.say(f"picture for your eye: {result.bundle.folder / 'annotated.jpg'}")
    progress.say(f"report: {result.bundle.folder / 'report.html'}")
    if verdict.outcome.is_loud:
        raise DisagreementError(verdict.sentence)
    progress.say(verdict.sentence)


def _watch(context: typer.Context, folder: Path, on_success: Optional[str]) -> None:
    """Hand the options that were given to the conversion of every file in *folder*."""
    from .watch import watch

    known = [param.name or "" for param in context.command.params]
    known = [name for name in known if name not in ("model", "watch", "on_success")]
    given: Dict[str, object] = {}
    for name in known:
        value = context.params[name]
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT" and value is not None:
            given[name] = value.absolute() if isinstance(value, Path) else value
    if (labels := Path(str(given.get("labels", "")))).is_file():
        given["labels"] = labels.absolute()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    watch(folder.absolute(), given, known, on_success, stop)


def _thresholds(config: Optional[Path], min_score: Optional[float]) -> Thresholds:
    thresholds = Thresholds.from_settings(load_settings(config).agreement) if config else Thresholds()
    return thresholds if min_score is None else replace(thresholds, min_score=min_score)


class _Console(Progress):
    """Bars on the terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True, highlight=False)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=total)
            yield lambda: bars.advance(task)

    def say(self, sentence: str) -> None:
        self._console.print(sentence, markup=False)


def _pairs(given: Optional[List[str]], option: str) -> Dict[str, str]:
    pairs = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        pairs[key.strip()] = value.strip()
    return pairs


def _spec(given: Optional[List[str]]) -> Dict[str, object]:
    """Numbers as numbers, "a,b,c" as three of them, all else as text; converter.model.presets checks them."""
    return {key: _value(value) for key, value in _pairs(given, "--spec").items()}


def _value(text: str) -> object:
    if "," in text:
        return tuple(_value(part) for part in text.split(","))
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _size(text: str) -> Optional[Tuple[int, int]]:
    if not text:
        return None
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT, 640x384 for instance", param_hint="--size")
    return int(width), int(height)
