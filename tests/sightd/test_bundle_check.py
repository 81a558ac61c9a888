"""Whether a bundle is good for this machine: the engine, its golden picture and its fallback, before all is trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import List

import numpy as np
import pytest

from sightd.bundle import Bundle, open_bundle, read_engine_file, write_bundle
from sightd.bundle_check import check_golden_classes, check_runs, open_checked
from sightd.engines import EngineOptions
from sightd.errors import BundleError, EngineError, EngineMismatch
from sightd.golden import GOLDEN, look
from sightd.manifest import EngineRecord
from sightd.types import Candidates
from tests.parts.fake_tensorrt import install
from tests.parts.tensorrt_bundle import publish_plan, publish_quadrants


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    install(monkeypatch, "8.5.2.2")
    return publish_plan(tmp_path)


def test_a_sound_bundle_runs_with_all_that_it_has(bundle: Bundle) -> None:
    check_runs(bundle)


def test_the_file_is_looked_at_right_before_it_is_loaded(bundle: Bundle) -> None:
    """The bundle was opened, and so checked, a while ago."""
    bundle.engine_file.write_bytes(b"something else")
    with pytest.raises(BundleError, match="altered or damaged"):
        open_checked(bundle, EngineOptions())


@pytest.mark.parametrize("kind", ["tensorrt", "onnxruntime"])
def test_what_is_loaded_is_what_was_hashed_and_not_a_second_reading_of_the_file(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The file is exchanged between the check and the loading."""
    if kind == "onnxruntime":
        (tmp_path / "other").mkdir()
        bundle = publish_quadrants(tmp_path / "other")
        bundle = replace(bundle, manifest=replace(bundle.manifest, extras=[]))
    real = read_engine_file

    def exchanged(folder: Path, engine: EngineRecord) -> bytes:
        content = real(folder, engine)
        (folder / engine.file).write_bytes(b"something else")
        return content

    monkeypatch.setattr("sightd.engines.read_engine_file", exchanged)
    with open_checked(bundle, EngineOptions()) as engine:
        assert len(
            look(engine, np.zeros((bundle.manifest.input.height, bundle.manifest.input.width, 3), np.uint8)).scores
        )
    assert bundle.engine_file.read_bytes() == b"something else"


def test_an_altered_fallback_makes_a_bundle_unsound_while_its_engine_serves(bundle: Bundle) -> None:
    assert bundle.fallback is not None
    bundle.fallback.engine_file.write_bytes(b"something else")
    open_checked(bundle, EngineOptions()).close()
    with pytest.raises(BundleError, match="altered or damaged"):
        check_runs(bundle)


def test_a_fallback_that_does_not_load_makes_a_bundle_unsound(bundle: Bundle, tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    write_bundle(tmp_path / "junk", bundle.engine_file, replace(bundle.manifest, extras=[]), {}, junk)
    with pytest.raises(EngineError, match="convert the model again"):
        check_runs(open_bundle(tmp_path / "junk"))


def test_a_lost_golden_picture_makes_a_bundle_unsound_while_its_engine_serves(bundle: Bundle) -> None:
    (bundle.folder / GOLDEN).unlink()
    open_checked(bundle, EngineOptions()).close()
    with pytest.raises(BundleError, match="missing or damaged"):
        check_runs(bundle)


def test_an_engine_for_another_machine_is_refused_before_it_is_read(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = install(monkeypatch, "8.5.2.2", sm=(8, 9), device="RTX")
    with pytest.raises(EngineMismatch, match=r"compute capability 8\.7 \(Orin\)"):
        check_runs(bundle)
    assert not gpu.live["runtime"]


def test_nothing_of_an_engine_that_is_refused_is_left_on_the_gpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = install(monkeypatch, "8.5.2.2")
    monkeypatch.setattr("sightd.bundle_check.check_golden", _refuse)
    with pytest.raises(EngineMismatch):
        open_checked(bundle, EngineOptions())
    assert not +gpu.live


def _refuse(*anything: object) -> None:
    raise EngineMismatch("something else")


def test_an_engine_that_finds_nothing_finite_on_black_is_served_where_the_golden_picture_shows_that_it_works(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that divides by the picture's own contrast."""
    nan = np.full((1, 1, 4), np.nan, np.float32)
    nothing = Candidates(nan, nan[..., 0], np.zeros((1, 1), np.int32))
    monkeypatch.setattr("sightd.bundle_check.look", lambda *_: nothing)
    open_checked(bundle, EngineOptions()).close()
    assert "not finite on a black picture" in caplog.text
    with pytest.raises(BundleError, match="not finite on a black picture"):
        open_checked(replace(bundle, manifest=replace(bundle.manifest, extras=[])), EngineOptions())


@pytest.mark.parametrize("extras", [[GOLDEN], []])
def test_an_engine_with_more_classes_than_labels_is_not_served(tmp_path: Path, extras: List[str]) -> None:
    """The black picture shows it where there is no golden one."""
    bundle = publish_quadrants(tmp_path)
    short = replace(bundle, manifest=replace(bundle.manifest, labels=["one"], extras=extras))
    with pytest.raises(BundleError, match=r"finds class 3, .* its manifest has 1 labels: .* \(--labels\)"):
        open_checked(short, EngineOptions())


def test_the_golden_picture_tells_missing_labels_without_the_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = publish_quadrants(tmp_path)
    short = replace(bundle, manifest=replace(bundle.manifest, labels=["a", "b", "c"]))
    check_golden_classes(bundle)
    with pytest.raises(BundleError, match="finds class 3"):
        check_golden_classes(short)
    assert caplog.text == ""
    (bundle.folder / GOLDEN).unlink()
    check_golden_classes(short)
    assert "missing or damaged" in caplog.text
