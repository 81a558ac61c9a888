"""The golden picture: the same engine passes, another one does not, on a real detector in ONNX Runtime."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converter.agreement.half_weights import with_half_weights
from converter.model.finish import finish
from converter.model.graph import load_onnx
from sightd.bundle import Bundle, write_bundle
from sightd.engines import EngineOptions, load_engine
from sightd.errors import BundleError, EngineMismatch
from sightd.golden import GOLDEN, check_golden, difference, look, read_golden, write_golden
from sightd.types import Candidates
from tests.parts.blobs import LABELS, blob_detector, blob_picture
from tests.parts.daemon import MANIFEST

PICTURE = blob_picture(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return finish(load_onnx(blob_detector(tmp_path_factory.mktemp("model") / "blobs.onnx")), labels=LABELS).model


@pytest.fixture
def bundle(model: onnx.ModelProto, tmp_path: Path) -> Bundle:
    """The detector with the golden picture of its engine."""
    file = tmp_path / "blobs.onnx"
    file.write_bytes(model.SerializeToString())
    return bundled(file, PICTURE)


def bundled(file: Path, pixels: np.ndarray) -> Bundle:
    spec = finish(load_onnx(blob_detector(file.with_name("given.onnx"))), labels=LABELS).spec
    bare = write_bundle(file.parent / "bundle", file, replace(MANIFEST, input=spec, labels=LABELS), {})
    golden = file.with_name(GOLDEN)
    with load_engine("onnxruntime", file, spec, 1, EngineOptions()) as engine:
        write_golden(golden, pixels, {bare.manifest.engine.sha256: look(engine, pixels)})
    return write_bundle(bare.folder, file, bare.manifest, {GOLDEN: golden})


def check(bundle: Bundle, model: onnx.ModelProto, max_batch: int = 4) -> None:
    """Have *model* pass for the engine of *bundle*, as a GPU that computes something else does."""
    file = bundle.folder.with_name("other.onnx")
    file.write_bytes(model.SerializeToString())
    golden = read_golden(bundle)
    assert golden is not None
    with load_engine("onnxruntime", file, bundle.manifest.input, max_batch, EngineOptions()) as engine:
        check_golden(engine, bundle, golden)


def changed(model: onnx.ModelProto, change: Callable[[str, np.ndarray], np.ndarray]) -> onnx.ModelProto:
    """*model* with its convolutions' weights (by name) changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for weights in copy.graph.initializer:
        array = numpy_helper.to_array(weights)
        if array.ndim == 4 and array.dtype == np.float32:
            weights.CopyFrom(numpy_helper.from_array(change(weights.name, array).astype(np.float32), weights.name))
    return copy


@pytest.mark.parametrize("max_batch", [1, 4])
def test_the_same_engine_passes(bundle: Bundle, model: onnx.ModelProto, max_batch: int) -> None:
    check(bundle, model, max_batch)


def test_weights_rounded_to_float16_pass(bundle: Bundle, model: onnx.ModelProto) -> None:
    rounded = with_half_weights(model)
    assert rounded.SerializeToString() != model.SerializeToString()
    check(bundle, rounded)


OTHERS: Dict[str, Callable[[str, np.ndarray], np.ndarray]] = {
    "zeroed": lambda name, array: np.zeros_like(array),
    "other weights": lambda name, array: np.random.default_rng(3).normal(0, 0.5, array.shape),
    "its prediction drifted": lambda name, array: array * 0.7 if array.shape[:2] == (2, 3) else array,
    "not finite": lambda name, array: np.full_like(array, np.nan),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_an_engine_that_computes_something_else_is_refused_with_the_way_out(
    bundle: Bundle, model: onnx.ModelProto, change: Callable[[str, np.ndarray], np.ndarray]
) -> None:
    with pytest.raises(EngineMismatch, match=r"something else .* sightd convert --rebuild"):
        check(bundle, changed(model, change))


def test_swapped_colour_channels_are_refused(bundle: Bundle, model: onnx.ModelProto) -> None:
    """Green and blue, in the layer that reads colours: by green the detector tells its classes apart."""
    swapped = changed(model, lambda name, array: array[:, [0, 2, 1]] if array.shape[:2] == (2, 3) else array)
    with pytest.raises(EngineMismatch):
        check(bundle, swapped)


def test_an_engine_that_fails_only_in_full_batches_is_refused(bundle: Bundle, model: onnx.ModelProto) -> None:
    golden = read_golden(bundle)
    assert golden is not None
    with load_engine("onnxruntime", bundle.engine_file, bundle.manifest.input, 4, EngineOptions()) as engine:
        submit = engine.submit

        def first_place_alone(slot: object, count: int) -> object:
            return submit(slot, 1) if count > 1 else submit(slot, count)  # type: ignore[arg-type]

        engine.submit = first_place_alone  # type: ignore[assignment, method-assign]
        with pytest.raises(EngineMismatch, match="at batch 4"):
            check_golden(engine, bundle, golden)


def test_a_picture_on_which_nothing_was_found_still_tells_an_engine_that_finds_something(
    bundle: Bundle, model: onnx.ModelProto, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    file = tmp_path / "empty" / "blobs.onnx"
    file.write_bytes(model.SerializeToString())
    empty = bundled(file, np.zeros_like(PICTURE))
    check(empty, model)
    found = Candidates(np.zeros((1, 1, 4), np.float32), np.full((1, 1), 0.9, np.float32), np.zeros((1, 1), np.int32))
    none = replace(found, scores=np.zeros((1, 1), np.float32))
    assert difference(none, found, 0.1) == difference(found, none, 0.1) == pytest.approx(0.9)
    assert difference(none, none, 0.1) == 0


def test_int8_may_differ_by_more_than_float(bundle: Bundle, model: onnx.ModelProto) -> None:
    drifted = changed(model, lambda name, array: array * 0.95 if array.shape[:2] == (2, 3) else array)
    engine = replace(bundle.manifest.engine, precision="int8")
    check(replace(bundle, manifest=replace(bundle.manifest, engine=engine)), drifted)
    with pytest.raises(EngineMismatch):
        check(bundle, drifted)


def test_bundles_of_an_older_sightd_have_none(bundle: Bundle) -> None:
    assert read_golden(replace(bundle, manifest=replace(bundle.manifest, extras=[]))) is None


def test_a_lost_one_is_an_error(bundle: Bundle) -> None:
    (bundle.folder / GOLDEN).unlink()
    with pytest.raises(BundleError, match="missing or damaged"):
        read_golden(bundle)


def test_one_of_another_engine_or_size_is_an_error(bundle: Bundle) -> None:
    manifest = bundle.manifest
    other = replace(manifest, engine=replace(manifest.engine, sha256="0" * 64))
    larger = replace(manifest, input=replace(manifest.input, height=128))
    for strange in (other, larger):
        with pytest.raises(BundleError, match="missing or damaged"):
            read_golden(replace(bundle, manifest=strange))


def test_a_damaged_one_is_told_or_still_right_but_never_another_error(bundle: Bundle) -> None:
    """Seeded: cut off anywhere, or with a changed byte anywhere, or with nothing right in it."""
    file, rng = bundle.folder / GOLDEN, random.Random(5)
    whole, refused = file.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
        if len(damaged) == len(whole):
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            read_golden(bundle)
        except BundleError:
            refused += 1
    assert refused > 200
    file.write_bytes(b"no archive at all")
    with pytest.raises(BundleError, match="missing or damaged"):
        read_golden(bundle)


def test_what_one_picture_shows_does_not_depend_on_the_batch_around_it(bundle: Bundle) -> None:
    with load_engine("onnxruntime", bundle.engine_file, bundle.manifest.input, 2, EngineOptions()) as engine:
        alone = look(engine, PICTURE)
        for batch in (1, 2, 2, 1, 2):
            assert difference(alone, look(engine, PICTURE, batch), 0.1) < 1e-4
