"""`sightd convert --watch` as users run it: a process of its own on a folder, with pictures to calibrate on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator

from tests.parts.daemon import command

__all__ = ["result_of", "watching"]


@contextmanager
def watching(folder: Path, pictures: Path, out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The process; SIGTERM ends it, and must."""
    arguments = [str(folder), "--calibration", str(pictures), "--out", str(out), *more]
    process = subprocess.Popen(
        command("convert", "--watch", *arguments), stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                process.kill()


def result_of(model: Path, deadline_s: float = 90.0) -> Dict[str, Any]:
    """What became of *model*, once it is over."""
    path = model.with_name(f"{model.name}.result.json")
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if path.exists():
            result: Dict[str, Any] = json.loads(path.read_text())
            if result["state"] != "running":
                return result
        time.sleep(0.1)
    raise AssertionError(f"{model.name}: nothing came of it in {deadline_s:.0f} s")
