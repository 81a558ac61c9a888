"""Whole conversions to TensorRT against its fake: what is shipped, what an upgrade does, and the way back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from converter.agreement.gate import Gate, Latencies
from converter.agreement.measure import detect
from converter.builders import tensorrt_attempts
from converter.builders.tensorrt import TIMING_CACHE
from converter.builders.tensorrt_order import Order
from converter.builders.tensorrt_process import run_worker
from converter.convert import convert
from converter.progress import Silent
from converter.rebuild import repeated
from converter.request import GIVEN_MODEL, Request
from converter.verdict import Outcome
from sightd.bundle import Bundle, open_bundle
from sightd.bundle_check import check_runs, open_checked
from sightd.bundle_versions import rollback, versions
from sightd.engines import EngineOptions, open_engine
from sightd.errors import EngineMismatch
from sightd.manifest import OutputSpec
from tests.parts.blobs import LABELS, blob_detector, blob_picture, write_blob_pictures
from tests.parts.fake_tensorrt import install
from tests.parts.tensorrt_building import inject, worker_on_a_thread

#: Milliseconds a batch, by the names that a race may have.
SPEED = {"int8": 1.0, "fp16": 2.0, "float": 2.0, "fp32": 4.0}


class Heard(Silent):
    def __init__(self) -> None:
        self.said: List[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 100)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Dict[str, float]:
    """What every race finds; a test may change it."""
    speed = dict(SPEED)

    def race(self: Gate, kind: str, files: Dict[str, Path]) -> Dict[str, Latencies]:
        return {name: {str(b): {"p50_ms": speed[name], "p95_ms": 9.0} for b in self.batches} for name in files}

    monkeypatch.setattr(Gate, "race", race)
    return speed


@pytest.fixture
def asked(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, speed: Dict[str, float]) -> Request:
    """On TensorRT 8.5, its workers threads of this process."""
    install(monkeypatch, "8.5.2.2")
    worker_on_a_thread(monkeypatch)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    model = blob_detector(tmp_path / "blobs.onnx")
    return Request(model, pictures, tmp_path / "bundle", labels=str(labels), max_trials=1, frames=24)


def rebuilt(bundle: Bundle, progress: Silent) -> Bundle:
    return convert(repeated(bundle.folder, Request(Path(), Path(), Path()), set()), progress).bundle


def counts(bundle: Bundle) -> List[int]:
    with open_engine(bundle, EngineOptions()) as engine:
        return [len(found) for found in detect(engine, map(blob_picture, range(900, 904)), OutputSpec(), 0.3, batch=4)]


def test_int8_that_agrees_is_shipped_with_a_fallback_for_any_cpu(asked: Request) -> None:
    heard = Heard()
    result = convert(asked, heard)
    assert result.verdict.outcome is Outcome.INT8, result.verdict.sentence
    manifest = result.bundle.manifest
    assert (manifest.engine.kind, manifest.engine.precision) == ("tensorrt", "int8")
    assert manifest.engine.file.endswith(".plan")
    assert manifest.engine.versions["tensorrt"] == "8.5.2.2"
    assert manifest.engine.versions["sm"] == "8.7"
    assert manifest.engine.layers["int8"] > 0
    assert manifest.calibration is not None
    assert manifest.calibration["algorithm"] == "tensorrt-entropy"
    assert manifest.request["engine"] == "tensorrt"
    assert {GIVEN_MODEL, TIMING_CACHE, "ranges.npz", "golden.npz"} <= set(manifest.extras)
    assert "engine: TensorRT 8.5.2.2 on Orin" in heard.said
    assert any("INT8 is measured against fp16" in sentence for sentence in heard.said)
    check_runs(result.bundle)
    assert counts(result.bundle) == [5] * 4
    fallback = result.bundle.fallback
    assert fallback is not None
    assert fallback.manifest.engine.kind == "onnxruntime"
    assert counts(fallback) == [5] * 4


def test_manifest_and_report_tell_every_float_engine_and_what_its_layers_compute_in(asked: Request) -> None:
    bundle = convert(asked, Silent()).bundle
    told = bundle.manifest.agreement or {}
    assert set(told["noise"]) == {"finished float model", "fp16 engine", "float16 weights"}
    assert told["yardstick"] == "fp16"
    assert told["trials"][0]["layers"] == dict(bundle.manifest.engine.layers)
    assert bundle.manifest.build["engine"]["peak_rss_mb"] > 0
    report = (bundle.folder / "report.html").read_text("utf-8")
    assert "fp16, INT8&#x27;s yardstick" in report
    assert f"{bundle.manifest.engine.layers['int8']} int8" in report


@pytest.mark.parametrize(("fp16_ms", "shipped"), [(2.0, "fp16"), (5.0, "fp32")])
def test_int8_that_is_not_faster_leaves_the_faster_float(
    asked: Request, speed: Dict[str, float], fp16_ms: float, shipped: str
) -> None:
    speed.update(int8=9.0, fp16=fp16_ms)
    result = convert(asked, Silent())
    assert result.verdict.outcome is Outcome.SLOWER
    assert result.bundle.manifest.engine.precision == shipped
    assert result.bundle.fallback is not None
    check_runs(result.bundle)


def test_builds_without_int8_are_trials_that_fail_and_float_is_shipped_loudly(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, no_int8=True)
    result = convert(replace(asked, max_trials=2), Silent())
    assert result.verdict.outcome is Outcome.NOT_BUILT
    assert "no layer computes in INT8" in result.verdict.sentence
    assert result.bundle.manifest.engine.precision == "fp16"
    trials: List[Dict[str, Any]] = (result.bundle.manifest.agreement or {})["trials"]
    assert [trial["verdict"] for trial in trials] == ["not-built", "not-built"]
    assert "not built: no layer computes in INT8" in (result.bundle.folder / "report.html").read_text("utf-8")


def test_after_an_upgrade_the_old_engine_is_refused_a_rebuild_runs_and_a_rollback_returns(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = convert(asked, Silent()).bundle
    install(monkeypatch, "10.3.0.26")
    with pytest.raises(EngineMismatch, match="--rebuild"):
        open_checked(bundle, EngineOptions())
    heard = Heard()
    again = rebuilt(open_bundle(asked.out), heard)
    assert "engine: TensorRT 10.3.0.26 on Orin" in heard.said
    assert any("taken over" in sentence for sentence in heard.said)
    assert again.manifest.engine.versions["tensorrt"] == "10.3.0.26"
    check_runs(open_bundle(asked.out))
    assert counts(again) == [5] * 4
    assert len(versions(asked.out)) == 2
    install(monkeypatch, "8.5.2.2")
    rollback(asked.out)
    back = open_bundle(asked.out)
    assert back.manifest.engine == bundle.manifest.engine
    check_runs(back)


def test_a_rebuild_on_the_same_tensorrt_calibrates_no_second_time(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = convert(asked, Silent()).bundle
    caches = [name for name in bundle.manifest.extras if name.startswith("calibration-")]
    before = [(bundle.folder / name).read_bytes() for name in caches]
    orders: List[Order] = []

    def run(order: Order, *rest: Any) -> None:
        orders.append(order)
        run_worker(order, *rest)

    monkeypatch.setattr(tensorrt_attempts, "run_worker", run)
    again = rebuilt(bundle, Silent())
    assert [bool(order.cache) for order in orders if order.calibrator] == [True]
    assert [(again.folder / name).read_bytes() for name in caches] == before
