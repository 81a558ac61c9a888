"""A detector that reads the clock in the pictures of the tests' RTSP server, so that each message tells their age."""

from __future__ import annotations

from pathlib import Path

from daemon.messages import DetectionsMessage
from sightd.bundle import write_bundle
from sightd.manifest import EngineRecord, Manifest, ModelRecord, OutputSpec
from sightd.types import InputSpec
from tests.parts.finished import bright_cells

__all__ = ["age_s", "write_clock_bundle"]

_BITS = 16
_LAP = 1 << _BITS


def write_clock_bundle(folder: Path) -> Path:
    """``folder/bundle``, whose objects are the white columns of a ``clock`` mount: labels "bit15" to "bit0"."""
    spec = InputSpec(64, 48, resize="stretch")
    model = bright_cells(folder / "clock.onnx", spec, _BITS, 1)
    manifest = Manifest(
        engine=EngineRecord("onnxruntime", "fp32"),
        model=ModelRecord("clock.onnx", "", 13),
        head="boxes-scores",
        input=spec,
        labels=[f"bit{_BITS - 1 - column}" for column in range(_BITS)],
        output=OutputSpec(candidates=_BITS, min_score=0.5),
    )
    write_bundle(folder / "bundle", model, manifest, {})
    return folder / "bundle"


def age_s(message: DetectionsMessage) -> float:
    """How old the picture was when the daemon took it, to 10 ms; it counts around every 655 s."""
    shown = sum(1 << int(found.label[3:]) for found in message.objects)
    age = (int(message.captured_at * 100) - shown) % _LAP
    # Rounding may make a picture 10 ms younger than the moment it was taken.
    return (age if age < _LAP - 10 else 0) / 100
