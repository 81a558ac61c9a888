"""What serves after an upgrade, a move to another machine or damage: real ONNX Runtime, a fake TensorRT."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightd.bundle import Bundle, open_bundle, write_bundle
from sightd.bundle_versions import ancestors, rollback, versions
from sightd.engines import EngineOptions
from sightd.engines.tensorrt import TensorRtEngine
from sightd.errors import BundleError, EngineError, EngineMismatch
from sightd.golden import GOLDEN, look, write_golden
from sightd.serving import Serving, open_serving
from tests.parts.fake_cuda import MemoryError as OutOfMemory
from tests.parts.fake_tensorrt import install
from tests.parts.tensorrt_bundle import SPEC, publish_plan, publish_quadrants


@pytest.fixture(autouse=True)
def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT 10.3 is here; bundles are of 8.5 unless they say so."""
    install(monkeypatch, "10.3.0.26")


def served(bundle: Bundle) -> Serving:
    """What serves *bundle*; it is closed again, after it found the bright corner."""
    serving = open_serving(bundle, EngineOptions())
    picture = np.zeros((SPEC.height, SPEC.width, 3), np.uint8)
    picture[: SPEC.height // 2, SPEC.width // 2 :] = 250
    with serving.engine as engine:
        assert look(engine, picture).classes[0, 0] == 1
    return serving


def differently(bundle: Bundle, kinds: str) -> Bundle:
    """*bundle* with a golden picture on which its engines ("engine", "fallback") found something else."""
    manifest = bundle.manifest
    with open_serving(bundle, EngineOptions()).engine as engine:
        black = np.zeros((SPEC.height, SPEC.width, 3), np.uint8)
        right, wrong = look(engine, black), look(engine, black + 200)
    records = {"engine": manifest.engine, "fallback": manifest.fallback}
    found = {record.sha256: wrong if name in kinds else right for name, record in records.items() if record}
    write_golden(bundle.folder / GOLDEN, black, found)
    return bundle


def test_the_bundles_own_engine_serves_where_it_fits(tmp_path: Path) -> None:
    bundle = publish_plan(tmp_path, "10.3.0.26")
    serving = served(bundle)
    assert (serving.manifest, serving.fallback_reason) == (bundle.manifest, "")


@pytest.mark.parametrize("golden", [True, False])
def test_warming_up_checks_graphs_on_the_golden_picture_or_where_there_is_none_on_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: bool
) -> None:
    install(monkeypatch, "10.3.0.26").graphs_lose_from = 0.7  # its bright quarter scores .74; noise .5
    bundle = publish_plan(tmp_path, "10.3.0.26")
    if not golden:
        bundle = replace(bundle, manifest=replace(bundle.manifest, extras=[]))
    with open_serving(bundle, EngineOptions()).engine as engine:
        assert isinstance(engine, TensorRtEngine)
        engine.warm_up(np.zeros((720, 1280, 3), np.uint8))  # as the daemon does
        assert engine.graph_batches() == ([] if golden else [1, 2, 3, 4])


def test_after_an_upgrade_the_fallback_serves_and_says_what_mends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = publish_plan(tmp_path)
    serving = served(bundle)
    assert (serving.manifest.engine.kind, serving.manifest.engine.precision) == ("onnxruntime", "fp32")
    assert serving.manifest.labels == bundle.manifest.labels
    assert serving.fallback_reason == (
        "the bundle's fallback serves instead, fp32 on onnxruntime: the engine was built by TensorRT 8.5.2.2, this "
        f"machine has 10.3.0.26; build it anew: sightd convert --rebuild {bundle.folder}"
    )
    assert [record.levelno for record in caplog.records if serving.fallback_reason in record.message] == [logging.ERROR]


def test_a_plan_that_only_its_deserialiser_refuses_is_replaced_too(tmp_path: Path) -> None:
    bundle = publish_plan(tmp_path, "10.3.0.30")
    serving = served(bundle)
    assert serving.manifest.engine.kind == "onnxruntime"
    assert "10.3.0.30" in serving.fallback_reason
    assert "10.3.0.26" in serving.fallback_reason


@pytest.mark.parametrize(
    ("missing", "said"), [("tensorrt", "TensorRT can't be imported"), ("pycuda", "pycuda is missing")]
)
def test_without_its_libraries_the_fallback_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    serving = served(publish_plan(tmp_path))
    assert serving.manifest.engine.kind == "onnxruntime"
    assert said in serving.fallback_reason


def test_an_earlier_version_that_fits_comes_before_the_fallback(tmp_path: Path) -> None:
    """A system that was put back to its former release."""
    earlier = publish_plan(tmp_path, "10.3.0.26", second=1)
    serving = served(publish_plan(tmp_path, "11.0.0.1", second=2))
    assert serving.manifest == earlier.manifest
    assert "the earlier version 20260131T235901-" in serving.fallback_reason
    assert "serves instead, int8 on tensorrt" in serving.fallback_reason


def test_of_earlier_versions_the_latest_that_fits_serves(tmp_path: Path) -> None:
    publish_plan(tmp_path, "10.3.0.26", second=1)
    right = publish_quadrants(tmp_path, second=2)
    publish_plan(tmp_path, "8.6.1.6", second=3)
    assert served(publish_plan(tmp_path, second=4)).manifest == right.manifest


def test_an_earlier_version_of_other_labels_is_passed_over(tmp_path: Path) -> None:
    publish_plan(tmp_path, "10.3.0.26", labels=["a", "b", "c", "d"], second=1)
    serving = served(publish_plan(tmp_path, second=2))
    assert serving.manifest.engine.kind == "onnxruntime"


def test_a_version_that_was_gone_back_from_never_serves(tmp_path: Path) -> None:
    """Whoever goes back had a reason, also where another version came after that."""
    good = publish_plan(tmp_path, second=1)
    publish_plan(tmp_path, "10.3.0.26", second=2)
    rollback(good.folder)
    assert len(versions(good.folder)) == 2
    assert ancestors(good.folder) == []
    assert served(open_bundle(good.folder)).manifest.engine.kind == "onnxruntime"
    bundle = publish_plan(tmp_path, "8.6.1.6", second=3)
    assert [version.name[:15] for version in ancestors(good.folder)] == ["20260131T235901"]
    assert served(bundle).manifest.engine.kind == "onnxruntime"


def test_with_nothing_at_hand_the_mismatch_itself_is_raised(tmp_path: Path) -> None:
    bundle = publish_plan(tmp_path, fallback=False)
    with pytest.raises(EngineMismatch, match=r"built by TensorRT 8\.5\.2\.2"):
        open_serving(bundle, EngineOptions())


@pytest.mark.parametrize("damage", [b"", b"rot", None])
def test_a_damaged_fallback_is_refused_when_it_would_serve(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = publish_plan(tmp_path)
    fallback = bundle.fallback
    assert fallback is not None
    if damage is None:
        fallback.engine_file.unlink()
    else:
        fallback.engine_file.write_bytes(damage)
    with pytest.raises(EngineMismatch):
        open_serving(open_bundle(bundle.folder), EngineOptions())
    assert "the bundle's fallback can't serve in its place" in caplog.text


def test_a_damaged_earlier_version_leaves_the_fallback(tmp_path: Path) -> None:
    publish_plan(tmp_path, "10.3.0.26", second=1)
    bundle = publish_plan(tmp_path, second=2)
    next(bundle.folder.glob("versions/*/engine-*.plan")).write_bytes(b"rot")
    assert served(bundle).manifest.engine.kind == "onnxruntime"


def test_an_altered_engine_is_never_replaced_by_another(tmp_path: Path) -> None:
    """It may have been altered on purpose, to have the other one run."""
    bundle = publish_plan(tmp_path, "10.3.0.26")
    bundle.engine_file.write_bytes(bundle.engine_file.read_bytes() + b"x")
    with pytest.raises(BundleError, match="altered or damaged"):
        open_serving(bundle, EngineOptions())


def test_an_engine_that_fails_for_another_reason_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory, for instance: a restart may do, and a slow engine would hide it."""
    bundle = publish_plan(tmp_path, "10.3.0.26")
    gpu = install(monkeypatch, "10.3.0.26")
    call = gpu.call

    def without_memory(routine: str, *rest: Any, **named: Any) -> Any:
        if routine == "cudaMalloc":
            raise OutOfMemory("cudaMalloc failed: out of memory")
        return call(routine, *rest, **named)

    monkeypatch.setattr(gpu, "call", without_memory)
    with pytest.raises(EngineError, match="too little GPU memory") as failed:
        open_serving(bundle, EngineOptions())
    assert not isinstance(failed.value, EngineMismatch)


def test_an_engine_that_computes_something_else_is_replaced_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = install(monkeypatch, "10.3.0.26")
    bundle = differently(publish_plan(tmp_path, "10.3.0.26"), "engine")
    serving = served(bundle)
    assert serving.manifest.engine.kind == "onnxruntime"
    assert "computes something else than when it was converted" in serving.fallback_reason
    assert not +gpu.live, gpu.live


def test_a_fallback_that_computes_something_else_does_not_serve(tmp_path: Path) -> None:
    bundle = differently(publish_plan(tmp_path), "fallback")
    with pytest.raises(EngineMismatch, match=r"built by TensorRT 8\.5\.2\.2"):
        open_serving(bundle, EngineOptions())


@pytest.mark.parametrize("release", ["10.3.0.26", "8.5.2.2"])
@pytest.mark.parametrize("damage", [b"rot", None])
def test_without_its_golden_picture_an_engine_serves_unchecked_and_the_log_says_so(
    tmp_path: Path, release: str, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file has the right hash: a lost picture leaves no site without an engine, nor without its fallback."""
    bundle = publish_plan(tmp_path, release)
    if damage is None:
        (bundle.folder / GOLDEN).unlink()
    else:
        (bundle.folder / GOLDEN).write_bytes(damage)
    kind = served(bundle).manifest.engine.kind
    assert kind == ("tensorrt" if release == "10.3.0.26" else "onnxruntime")
    assert "can't be checked" in caplog.text


def test_a_bundle_of_an_older_sightd_serves(tmp_path: Path) -> None:
    made = publish_quadrants(tmp_path)
    older = write_bundle(tmp_path / "older", made.engine_file, replace(made.manifest, extras=[]), {})
    assert served(older).fallback_reason == ""
