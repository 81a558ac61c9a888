"""The daemon as users run it: a process of its own, with a config and a bundle made for the test."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

from sightd.bundle import write_bundle
from sightd.manifest import EngineRecord, Manifest, ModelRecord, OutputSpec
from sightd.types import InputSpec
from tests.parts.finished import bright_quadrants

__all__ = ["MANIFEST", "Daemon", "command", "running_daemon", "write_quadrant_bundle"]

#: Of a model that knows persons, cars and dogs; there is no engine to it.
MANIFEST = Manifest(
    engine=EngineRecord("onnxruntime", "fp32"),
    model=ModelRecord("m.onnx", "", 13),
    head="boxes-scores",
    input=InputSpec(64, 48),
    labels=["person", "car", "dog"],
    output=OutputSpec(nms_iou=0.6, min_score=0.25),
)


def write_quadrant_bundle(folder: Path) -> Path:
    """A bundle of :func:`bright_quadrants`: labels "tl", "tr", "bl", "br", everything from score 0.5 on."""
    spec = InputSpec(64, 48, resize="stretch")
    model = bright_quadrants(folder / "quadrants.onnx", spec)
    manifest = Manifest(
        engine=EngineRecord("onnxruntime", "fp32"),
        model=ModelRecord("quadrants.onnx", "", 13),
        head="boxes-scores",
        input=spec,
        labels=["tl", "tr", "bl", "br"],
        output=OutputSpec(candidates=4, min_score=0.5),
    )
    write_bundle(folder / "bundle", model, manifest, {})
    return folder / "bundle"


class Daemon:
    """A running `sightd run`."""

    def __init__(self, process: subprocess.Popen[bytes], config: Path, log: Path) -> None:
        self.process = process
        self._config, self._log = config, log

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def wait_for_log(self, text: str, times: int = 1, deadline_s: float = 60) -> None:
        """Wait until the log has *text* so often."""
        deadline = time.monotonic() + deadline_s
        while self.log.count(text) < times:
            assert time.monotonic() < deadline, f"{text!r} is not {times} times in the log: {self.log[-2000:]}"
            time.sleep(0.05)

    def reload(self, config: str) -> None:
        """Write *config* and send SIGHUP."""
        self._config.write_text(f"bundle: bundle\noutbox: {{folder: outbox}}\n{config}", "utf-8")
        self.process.send_signal(signal.SIGHUP)

    def stop(self, deadline_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)


def command(*arguments: str) -> List[str]:
    """The `sightd` command line of this checkout."""
    return [sys.executable, "-m", "sightd", *arguments]


@contextmanager
def running_daemon(folder: Path, config: str) -> Iterator[Daemon]:
    """`sightd run` with *config*, whose bundle is ``folder/bundle``; killed at the end if it still runs."""
    path, log = folder / "sightd.yaml", folder / "daemon.log"
    path.write_text(f"bundle: bundle\noutbox: {{folder: outbox}}\n{config}", "utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("run", "--config", str(path)),
            stdout=output,
            stderr=output,
        )
    try:
        yield Daemon(process, path, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
