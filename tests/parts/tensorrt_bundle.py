"""A bundle whose engine is a plan for the fake TensorRT, with a golden picture and a fallback that really computes."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Sequence

import numpy as np

from sightd.bundle import Bundle, sha256_of
from sightd.bundle_versions import publish
from sightd.engines import EngineOptions, load_engine
from sightd.engines.tensorrt_profiles import SLOTS
from sightd.golden import GOLDEN, look, write_golden
from sightd.manifest import EngineRecord, Manifest, ModelRecord, OutputSpec, Profile
from sightd.types import InputSpec
from tests.parts.fake_tensorrt_runtime import make_plan
from tests.parts.finished import bright_quadrants

if TYPE_CHECKING:
    import pytest

__all__ = ["LABELS", "SPEC", "fake_tensorrt_in_processes", "publish_plan", "publish_quadrants"]

LABELS = ["tl", "tr", "bl", "br"]
SPEC = InputSpec(64, 48, resize="stretch")
_MANIFEST = Manifest(
    engine=EngineRecord("onnxruntime", "fp32"),
    model=ModelRecord("quadrants.onnx", "", 13),
    head="boxes-scores",
    input=SPEC,
    labels=LABELS,
    output=OutputSpec(candidates=4, min_score=0.5),
    profile=Profile(1, 2, 4),
)


def publish_plan(
    folder: Path, release: str = "8.5.2.2", *, labels: Sequence[str] = (), fallback: bool = True, second: int = 0
) -> Bundle:
    """Write ``folder/bundle``, which finds bright quadrants, as built by TensorRT *release* for compute capability 8.7.

    :param second: of its making; a later version has a later one.
    """
    model = bright_quadrants(folder / "quadrants.onnx", SPEC)
    plan = folder / "quadrants.plan"
    layers = {"conv": "INT8", "head": "HALF"}
    plan.write_bytes(make_plan(model.read_bytes(), tensorrt=release, profiles=SLOTS, precisions=layers))
    versions = {"tensorrt": release, "cuda": "12.6", "sm": "8.7", "device": "Orin"}
    manifest = replace(
        _made_at(second),
        engine=EngineRecord(
            "tensorrt", "int8", versions=versions, machine=platform.machine(), layers={"int8": 1, "fp16": 1}
        ),
        labels=list(labels or LABELS),
        fallback=EngineRecord("onnxruntime", "fp32", versions={"onnxruntime": "1.19.2"}) if fallback else None,
    )
    return _published(folder, plan, manifest, model, model if fallback else None)


def publish_quadrants(folder: Path, *, second: int = 0) -> Bundle:
    """The same by ONNX Runtime, without a fallback."""
    model = bright_quadrants(folder / "quadrants.onnx", SPEC)
    return _published(folder, model, _made_at(second), model, None)


def fake_tensorrt_in_processes(folder: Path, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    """What processes that a test starts import as TensorRT and pycuda is fake; *folder* is for what they import."""
    modules = folder / "modules"
    modules.mkdir()
    code = f"from tests.parts.fake_tensorrt import install_here\ninstall_here({release!r})\n"
    (modules / "tensorrt.py").write_text(code)  # puts the fakes in its own place and pycuda's
    monkeypatch.setenv("PYTHONPATH", f"{modules}:{Path(__file__).parents[2]}")
    monkeypatch.syspath_prepend(str(modules))  # the doctor hands sys.path on


def _made_at(second: int) -> Manifest:
    return replace(_MANIFEST, created_at=f"2026-01-31T23:59:{second:02}+00:00")


def _published(folder: Path, engine: Path, manifest: Manifest, model: Path, fallback: Optional[Path]) -> Bundle:
    """With what *model* finds on a golden picture, for it is in every file."""
    pixels = np.random.default_rng(1).integers(0, 80, (SPEC.height, SPEC.width, 3)).astype(np.uint8)
    pixels[: SPEC.height // 2, : SPEC.width // 2] += 150
    with load_engine("onnxruntime", model, SPEC, 1, EngineOptions()) as opened:
        found = look(opened, pixels)
    golden = folder / GOLDEN
    write_golden(golden, pixels, {sha256_of(file): found for file in (engine, model)})
    extras: Dict[str, Path] = {GOLDEN: golden}
    return publish(folder / "bundle", engine, manifest, extras, fallback)
