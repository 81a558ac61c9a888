"""The `sightd` command: gathers the programs' commands, and alone turns errors into exit codes."""

# Without `from __future__ import annotations`: below Python 3.10 typer overlooks Annotated in string annotations.

import json
import os
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Type

import typer
from typing_extensions import Annotated

from . import __version__
from .bundle import open_bundle
from .bundle_trust import check_place, check_trusted
from .errors import ConfigError, DisagreementError, NoBundleError, SightdError
from .install.cli import register as register_install
from .logs import configure_logging, log_the_uncaught
from .manifest import Manifest
from .redact import redact
from .settings import DEFAULT_CONFIG, Settings, assigned, json_schema, load_settings, parse_settings, starter
from .settings.camera_url import normalise, shown

__all__ = ["build_app", "main"]

#: Exit codes: the first line that an error is an instance of. Beside them: 0 all well, 2 wrong usage
#: (typer's), 130 interrupted.
_EXIT_CODES: Tuple[Tuple[Type[BaseException], int], ...] = (
    (ConfigError, 2),
    (DisagreementError, 3),
    (SightdError, 1),
)

_PROGRAMS = ("converter", "daemon")
_EXAMPLE_CAMERA = {"front": "rtsp://192.0.2.10/stream"}


def main() -> None:
    """Run the command line and exit: what users can act on as one message, all else with its traceback."""
    # ONNX Runtime's wheels (1.32) report their use to Microsoft unless told otherwise before they are imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    configure_logging("info")
    log_the_uncaught()
    code = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        # A thread was left behind, in a camera that does not answer: it would crash the interpreter's teardown.
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    """The exit code of the command that was asked for."""
    try:
        build_app()(prog_name="sightd")
    except SystemExit as end:  # typer's way to return
        return end.code if isinstance(end.code, int) else 0
    except SightdError as error:
        typer.echo(f"sightd: {redact(str(error))}", err=True)
        return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
    except KeyboardInterrupt:  # while importing; inside a command typer exits the same way
        return 130
    except Exception:  # the process's edge: nothing is swallowed, only passwords are
        typer.echo(redact(traceback.format_exc()), err=True, nl=False)
        return 1
    return 0


def build_app() -> typer.Typer:
    """The command line with the commands of every program.

    :raises SightdError: a package of another project answers to the name of one of ours.
    """
    app = typer.Typer(
        help="Cameras in, MQTT detections out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_common)
    app.command("init")(_init)
    app.command("check-config")(_check_config)
    register_install(app)
    for program in _PROGRAMS:
        _refuse_foreign(program)
        import_module(f"{program}.cli").register(app)
    return app


def _refuse_foreign(package: str) -> None:
    """PyPI's python-daemon is imported as `daemon` too; whichever comes first on the path wins."""
    found = import_module(package)
    if getattr(found, "OWNER", None) != "sightd":
        raise SightdError(
            f"the package '{package}' at {getattr(found, '__file__', None)} is not sightd's: "
            "install sightd into a virtual environment of its own (PyPI's python-daemon uses the same name)"
        )


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightd {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _check_config(
    path: Annotated[Path, typer.Argument(envvar="SIGHTD_CONFIG", help="The settings file.")] = DEFAULT_CONFIG,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema for editors instead.")] = False,
) -> None:
    """Check the settings: every mistake with its line, or a summary."""
    if schema:
        typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return
    settings = load_settings(path)
    settings.mqtt.read_password()
    settings.http.read_token()
    models = _check_models(settings)
    typer.echo(f"{path}: no mistakes found")
    for line in [*models, *_summary(settings)]:
        typer.echo(line)


def _check_models(settings: Settings) -> List[str]:
    """A line for each bundle; where all are there already, the settings are held against them.

    :raises ConfigError: they do not fit, a camera asks for a label that its model does not have for instance.
    :raises BundleError: the daemon would not run one.
    """
    from daemon.rules import rules_for

    from .bundle_check import check_golden_classes

    lines: List[str] = []
    manifests: Dict[str, Manifest] = {}
    for bundle in settings.bundles:
        check_place(Path(bundle), settings.bundle_folders)
        try:
            opened = open_bundle(Path(bundle))
        except NoBundleError as error:
            lines.append(f"bundle   {bundle} (labels are not checked: {error})")
            continue
        check_trusted(Path(bundle), settings.bundle_folders)
        check_golden_classes(opened)
        manifest = manifests[bundle] = opened.manifest
        lines.append(f"bundle   {bundle}: {manifest.model.name}, {len(manifest.labels)} labels")
    if len(manifests) == len(settings.bundles):
        rules_for(settings, manifests)
    return lines


def _summary(settings: Settings) -> List[str]:
    mqtt = settings.mqtt
    user = f" as {mqtt.username}" if mqtt.username else ""
    (host, port), *others = mqtt.addresses
    lines = [f"broker   {host}:{port}{user}, topics below {settings.topic_prefix}"]
    lines += [f"broker   {host}:{port} in its place" for host, port in others]
    if settings.http.port:
        lines.append(f"http     port {settings.http.port} of {settings.http.address}")
    several = len(settings.bundles) > 1
    for name, camera in settings.cameras.items():
        rate = f"at most {camera.max_fps:g} fps" if camera.max_fps else "every frame"
        state = rate if camera.enabled else "disabled"
        model = f", {settings.bundle_of(name)}" if several else ""
        lines.append(f"camera   {name}: {shown(camera.url.get_secret_value())} ({state}{model})")
    for name, classifier in settings.classifiers.items():
        objects, cameras = ", ".join(classifier.objects or ["all"]), ", ".join(classifier.cameras or ["all cameras"])
        lines.append(f"classify {name}: {objects} of {cameras}, {settings.classifier_bundle(name)}")
    return lines


def _init(
    path: Annotated[Path, typer.Argument(envvar="SIGHTD_CONFIG", help="The file to write.")] = DEFAULT_CONFIG,
    camera: Annotated[Optional[List[str]], typer.Option(metavar="NAME=URL", help="A camera; repeatable.")] = None,
    bundle: Annotated[Optional[Path], typer.Option(help="The bundle to run.")] = None,
    host: Annotated[Optional[str], typer.Option(help="The MQTT broker's host.")] = None,
    values: Annotated[
        Optional[List[str]], typer.Option("--set", metavar="KEY=VALUE", help="As mqtt.username=me; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented settings file to start from."""
    cameras = _parse_cameras(camera or [])
    tree = _parse_values(values or [])
    if bundle is not None:
        tree["bundle"] = str(bundle.absolute())
    if host is not None:
        tree.setdefault("mqtt", {})["host"] = host
    parse_settings(starter(cameras or _EXAMPLE_CAMERA, tree).encode(), path)
    _write(path, starter(cameras, tree), force)
    then = "" if cameras else "add your cameras, then "
    typer.echo(f"wrote {path}; {then}check it with: sightd check-config {path}")


def _parse_cameras(given: List[str]) -> Dict[str, str]:
    cameras: Dict[str, str] = {}
    for text in given:
        name, equals, url = text.partition("=")
        if not equals or name in cameras:
            raise typer.BadParameter("write each as NAME=URL, every name once", param_hint="--camera")
        try:
            cameras[name] = normalise(url, Path.cwd())
        except ValueError as error:
            raise typer.BadParameter(f"{name}: {error}", param_hint="--camera") from error
    return cameras


def _parse_values(given: List[str]) -> Dict[str, Any]:
    try:
        return assigned(given)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error


def _write(path: Path, text: str, force: bool) -> None:
    """Readable for owner and group only: URLs hold passwords."""
    try:
        if path.exists() and not force:
            raise ConfigError(f"{path}: is there already; --force replaces it")
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o640)
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be written ({error.strerror}); choose another place or run as root"
        ) from error
