"""The command `sightd convert`: a model, a bundle to make anew, or a folder to watch."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
import shlex
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Set, Tuple

import typer
from typing_extensions import Annotated

from sightd.errors import DisagreementError
from sightd.settings import load_settings

from .agreement.thresholds import Thresholds
from .console import Console
from .on_success import run_on_success

if TYPE_CHECKING:
    from .request import Request

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `convert` to *app*."""
    app.command("convert")(_convert)


def _convert(
    context: typer.Context,
    model: Annotated[
        Optional[Path],
        typer.Argument(
            help="An ONNX file; PyTorch weights, with --factory; with --watch, a folder of them.", show_default=False
        ),
    ] = None,
    calibration: Annotated[
        Optional[Path], typer.Option(help="A calibration set, or a folder of pictures.", show_default=False)
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="The bundle to write or replace.", show_default=False)] = None,
    engine: Annotated[
        str, typer.Option(help="onnxruntime or tensorrt; auto takes TensorRT where there is a GPU for it.")
    ] = "auto",
    trt: Annotated[
        Optional[List[str]],
        typer.Option(metavar="KEY=VALUE", help="For TensorRT: tactic_sources, workspace_mb, dla_core ... Repeatable."),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(help="coco80, coco90, coco91, or a file: a name a line, data.yaml, JSON; else the model's own."),
    ] = "",
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
        Optional[str],
        typer.Option(metavar="COMMAND", help="With --watch or --rebuild: run it when a new version is in service."),
    ] = None,
    rebuild: Annotated[
        Optional[Path],
        typer.Option(metavar="BUNDLE", help="Make this bundle anew as it was made, after an upgrade; without MODEL."),
    ] = None,
) -> None:
    """Make an INT8 engine of MODEL, calibrated and judged on your own frames.

    Exit code 3: INT8 did not agree with the float model, or could not be judged; the bundle holds float.
    """
    from .builders.options import tensorrt_options

    _check_together(context)
    options = _pairs(trt, "--trt")
    tensorrt_options(options)  # a mistake is told before any work is done
    if watch:
        _watch(context, model or Path(), on_success)
        return
    from .request import Request

    request = Request(
        model=model or Path(),
        calibration=calibration or Path(),
        out=out or Path(),
        engine=engine,
        trt=options,
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
    if rebuild:
        from .rebuild import repeated

        request = repeated(rebuild, request, _fields(context))
    _run(request, on_success)


def _run(request: "Request", on_success: Optional[str]) -> None:
    from .convert import convert

    progress = Console()
    result = convert(request, progress)
    verdict = result.verdict
    progress.say(f"bundle: {result.bundle.folder}")
    progress.say(f"picture for your eye: {result.bundle.folder / 'annotated.jpg'}")
    progress.say(f"report: {result.bundle.folder / 'report.html'}")
    run_on_success(on_success)
    if verdict.outcome.is_loud:
        raise DisagreementError(verdict.sentence)
    progress.say(verdict.sentence)


def _check_together(context: typer.Context) -> None:
    """Which options need, or exclude, which.

    :raises click.UsageError: exit code 2.
    """
    given = _given(context)
    if "rebuild" not in given:
        for name, told in (
            ("model", "argument 'MODEL'"),
            ("calibration", "option '--calibration'"),
            ("out", "option '--out'"),
        ):
            if name not in given:
                context.fail(f"Missing {told}.")
    elif foreign := [name for name in ("model", "watch", "factory", "opset") if name in given]:
        told = "MODEL" if foreign[0] == "model" else f"--{foreign[0]}"
        context.fail(f"{told} does not go with --rebuild: that takes the model which is in the bundle.")
    if "on_success" in given and not given & {"watch", "rebuild"}:
        context.fail("--on-success needs --watch or --rebuild.")


def _given(context: typer.Context) -> Set[str]:
    """The names of the parameters that were given, by the command line or the environment."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {
        name
        for name, source in sources.items()
        if source is not None and source.name != "DEFAULT" and context.params[name] is not None
    }


def _fields(context: typer.Context) -> Set[str]:
    """The fields of Request that the given options are for, ``min_score`` of its thresholds among them."""
    names = {"head_option": "head_options", "camera": "cameras", "config": "thresholds"}
    return {names.get(name, name) for name in _given(context) - {"rebuild", "on_success"}}


def _watch(context: typer.Context, folder: Path, on_success: Optional[str]) -> None:
    """Hand the options that were given to the conversion of every file in *folder*."""
    from .watch import watch

    known = [param.name or "" for param in context.command.params]
    known = [name for name in known if name not in ("model", "watch", "on_success", "rebuild")]
    given: Dict[str, object] = {}
    for name in [name for name in known if name in _given(context)]:
        value = context.params[name]
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
