"""The daemon's command: `sightd run`."""

# No `from __future__ import annotations`: below Python 3.10 typer would not see what Annotated says.
import faulthandler
import signal
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Optional

import typer
from typing_extensions import Annotated

from sightd.bundle import open_bundle
from sightd.bundle_trust import check_trusted
from sightd.engines import EngineOptions
from sightd.logs import configure_logging
from sightd.serving import open_serving
from sightd.settings import DEFAULT_CONFIG, load_settings

from .doctor.cli import register as register_doctor
from .journal import log_to_journal

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the daemon's commands to *app*."""
    app.command("run")(_run)
    register_doctor(app)


def _run(
    config: Annotated[Path, typer.Option(envvar="SIGHTD_CONFIG", help="The settings file.")] = DEFAULT_CONFIG,
) -> None:
    """Watch the cameras and publish what is seen, until SIGTERM; SIGHUP reads the settings again."""
    from .service import Service

    faulthandler.enable()  # the watchdog ends a hung process with SIGABRT: the log then has every thread's stack
    settings = load_settings(config)
    configure_logging(settings.log_level)
    log_to_journal(settings.log_level)
    bundles = {folder: open_bundle(Path(folder)) for folder in settings.bundles}
    for folder in bundles:
        check_trusted(Path(folder), settings.bundle_folders)
    options = EngineOptions(settings.engine.threads, settings.engine.max_batch, settings.engine.preprocess)
    service = Service(
        settings,
        {folder: bundle.manifest for folder, bundle in bundles.items()},
        lambda folder: open_serving(bundles[folder], options),
        partial(load_settings, config),
    )

    def on_signal(number: int, frame: Optional[FrameType]) -> None:
        if number == signal.SIGHUP:
            service.reload()
        else:
            service.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    service.run()
