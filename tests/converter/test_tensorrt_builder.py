"""The TensorRT builder against a fake TensorRT of each version: what it orders, retries, reuses, records and tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
import onnx
import onnxruntime
import pytest

from converter.builders import tensorrt as builders
from converter.builders.base import Built
from converter.builders.tensorrt import TIMING_CACHE, TensorRtBuilder
from converter.builders.tensorrt_order import TensorRtOptions
from converter.int8.plan import layers
from converter.search import Recipe
from sightd.errors import BuildError, CalibrationError
from sightd.manifest import Profile
from tests.parts.fake_cuda import FakeGpu
from tests.parts.fake_tensorrt import install
from tests.parts.fake_tensorrt_runtime import read_plan
from tests.parts.tensorrt_building import Case, Heard, blob_case, inject, worker_on_a_thread

VERSIONS = ["8.5.2.2", "8.6.1.6", "10.3.0.26", "11.4.0.106"]
CALIBRATING = VERSIONS[:3]
ENTROPY = Recipe("tensorrt-entropy", "all", 0)
MINMAX = Recipe("tensorrt-minmax", "all", 0)
MSE = Recipe("mse", "all", 0)
Make = Callable[..., TensorRtBuilder]


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return blob_case(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def case(blobs: Case) -> Case:
    return replace(blobs, read=[])


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A builder on a fake TensorRT, its workers threads of this process."""
    worker_on_a_thread(monkeypatch)

    def made(version: str = "8.5.2.2", folder: str = "work", **options: Any) -> TensorRtBuilder:
        given = {name: options.pop(name) for name in ("earlier", "progress", "profile", "available") if name in options}
        make_gpu(monkeypatch, version)
        (tmp_path / folder).mkdir(exist_ok=True)
        profile = given.pop("profile", Profile())
        return TensorRtBuilder(TensorRtOptions(**options), profile, tmp_path / folder, **given)

    return made


def make_gpu(monkeypatch: pytest.MonkeyPatch, version: str) -> FakeGpu:
    return install(monkeypatch, version)


def header(file: Path) -> Dict[str, Any]:
    return read_plan(file.read_bytes())[0]


def outputs(file: Path, picture: np.ndarray) -> List[np.ndarray]:
    session = onnxruntime.InferenceSession(read_plan(file.read_bytes())[1], providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtype = np.float32 if "float" in entry.type else np.uint8
    found: List[np.ndarray] = session.run(None, {entry.name: picture.astype(dtype)})
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_builds_float_half_and_int8(make: Make, case: Case, tmp_path: Path, version: str) -> None:
    builder = make(version)
    assert builder.floats == ("fp32", "fp16")
    for precision in builder.floats:
        built = builder.build_float(case.model, precision, tmp_path / f"{precision}.plan")
        assert (built.precision, set(built.layers) - {"fp32"}) == (
            precision,
            {"fp16"} if precision == "fp16" else set(),
        )
    built = builder.build_int8(case.model, case.calibration(), builder.families[0], case.head, tmp_path / "int8.plan")
    assert built.precision == "int8"
    assert built.layers["int8"] == len(layers(case.model, case.head))
    assert built.seconds > 0
    assert built.peak_rss_mb > 1
    found = header(built.file)
    assert found["profile"] == {"min": 1, "opt": 4, "max": 8}
    assert found["profiles"] == (3 if version.startswith("8") else 1)
    exact, quantised = (outputs(tmp_path / name, case.pictures[0]) for name in ("fp32.plan", "int8.plan"))
    best = exact[1][0] > 0.3
    assert best.sum() == 5
    np.testing.assert_allclose(quantised[1][0][best], exact[1][0][best], atol=0.05)


@pytest.mark.parametrize("version", CALIBRATING)
def test_decoding_is_fp32_and_the_head_fp16_beside_int8(make: Make, case: Case, tmp_path: Path, version: str) -> None:
    plan = tmp_path / "int8.plan"
    make(version).build_int8(case.model, case.calibration(), ENTROPY, case.head, plan)
    precisions = header(plan)["precisions"]
    predictions = set(layers(case.model, set())) & case.head
    assert {precisions[name] for name in predictions} == {"HALF"}
    decoding = [name for name in precisions if name.startswith("sightd/") and "/input/" not in name]
    assert decoding
    assert {precisions[name] for name in decoding} == {"FLOAT"}
    assert {precisions[name] for name in layers(case.model, case.head)} == {"INT8"}


def test_a_layer_of_the_parsers_own_is_held_with_the_node_it_serves(make: Make, case: Case, tmp_path: Path) -> None:
    make().build_float(case.model, "fp16", tmp_path / "half.plan")
    precisions = header(tmp_path / "half.plan")["precisions"]
    names = list(precisions)
    helpers = [name for name in names if name.startswith("ONNXTRT_")]
    assert helpers
    for name in helpers:
        assert precisions[name] == precisions[names[names.index(name) + 1]]


def test_calibration_sees_all_pictures_in_order_and_in_full_batches(make: Make, case: Case, tmp_path: Path) -> None:
    heard = Heard()
    make(progress=heard).build_int8(case.model, case.calibration(), MINMAX, case.head, tmp_path / "int8.plan")
    assert case.read == list(range(10))
    assert heard.stages["TensorRT 8.5.2.2, int8: calibrating"] == [3, 3]
    assert heard.stages["TensorRT 8.5.2.2, int8: building"] == [1, 1]
    largest = max(float(picture.max()) for picture in case.pictures)
    scales = header(tmp_path / "int8.plan")["int8_scales"]
    first = next(node for node in case.model.graph.node if node.op_type == "Transpose")
    assert scales[first.output[0]] == pytest.approx(largest / 127, rel=1e-5)


def test_ten_tells_how_far_it_is(make: Make, case: Case, tmp_path: Path) -> None:
    heard = Heard()
    make("10.3.0.26", progress=heard).build_float(case.model, "fp32", tmp_path / "a.plan")
    assert heard.stages == {"TensorRT 10.3.0.26, fp32: building": [100, 100]}


@pytest.mark.parametrize("float_input", [True, False])
def test_an_implicit_int8_engine_takes_float_or_bytes(
    make: Make, case: Case, tmp_path: Path, float_input: bool
) -> None:
    builder = make(float_input=float_input)
    for recipe in (ENTROPY, MSE):
        built = builder.build_int8(case.model, case.calibration(), recipe, case.head, tmp_path / "a.plan")
        entry = onnx.load_from_string(read_plan(built.file.read_bytes())[1]).graph.input[0]
        assert entry.type.tensor_type.elem_type == (1 if float_input else 2)
        assert built.layers["int8"] == 5


class TestCalibrationCache:
    def test_one_calibration_serves_builds_with_other_float_layers(
        self, make: Make, case: Case, tmp_path: Path
    ) -> None:
        builder = make()
        builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
        more = case.head | {layers(case.model, case.head)[0]}
        built = builder.build_int8(case.model, case.calibration(), ENTROPY, more, tmp_path / "b.plan")
        assert case.read == list(range(10))
        assert built.layers["int8"] == 4
        scales = header(tmp_path / "a.plan")["int8_scales"]
        assert header(tmp_path / "b.plan")["int8_scales"] == pytest.approx(scales)

    def test_each_algorithm_calibrates_by_itself(self, make: Make, case: Case, tmp_path: Path) -> None:
        builder = make()
        for recipe in (ENTROPY, MINMAX):
            builder.build_int8(case.model, case.calibration(), recipe, case.head, tmp_path / "a.plan")
        assert len(case.read) == 20
        assert set(builder.extras()) == {
            TIMING_CACHE,
            "calibration-tensorrt-entropy.cache",
            "calibration-tensorrt-minmax.cache",
        }

    def test_a_rebuild_takes_the_bundles_cache(self, make: Make, case: Case, tmp_path: Path) -> None:
        first = make()
        first.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
        second = make(folder="second", earlier=first.extras())
        second.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "b.plan")
        assert len(case.read) == 10
        assert set(second.extras()) == set(first.extras())

    @pytest.mark.parametrize("changed", ["frames", "batch", "version", "input", "damaged"])
    def test_a_cache_of_something_else_is_not_used(self, make: Make, case: Case, tmp_path: Path, changed: str) -> None:
        first = make()
        first.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
        earlier = first.extras()
        if changed == "damaged":
            file = earlier["calibration-tensorrt-entropy.cache"]
            file.write_bytes(file.read_bytes()[:-20])
        second = make(
            "8.6.1.6" if changed == "version" else "8.5.2.2",
            folder="second",
            earlier=earlier,
            profile=Profile(opt=2) if changed == "batch" else Profile(),
            float_input=changed != "input",
        )
        key = "others" if changed == "frames" else "frames"
        second.build_int8(case.model, case.calibration(key), ENTROPY, case.head, tmp_path / "b.plan")
        assert len(case.read) == 20

    def test_our_own_ranges_need_no_pictures(self, make: Make, case: Case, tmp_path: Path) -> None:
        builder = make()
        builder.build_int8(case.model, case.calibration(), MSE, case.head, tmp_path / "a.plan")
        assert case.read == []
        assert set(builder.extras()) == {TIMING_CACHE}
        first = layers(case.model, case.head)[1]
        tensor = next(node.input[0] for node in case.model.graph.node if node.name == first)
        _, high = case.ranges.bounds(tensor, "mse", symmetric=True)
        assert header(tmp_path / "a.plan")["int8_scales"][tensor] == pytest.approx(high / 127, rel=1e-3)

    def test_a_cache_that_tensorrt_does_not_take_is_an_error(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make()
        monkeypatch.setattr(builders, "_cache_version", lambda version: 7000)
        with pytest.raises(BuildError, match="did not accept the calibration cache"):
            builder.build_int8(case.model, case.calibration(), MSE, case.head, tmp_path / "a.plan")


class TestTimingCache:
    def test_is_kept_and_taken_up_again(self, make: Make, case: Case, tmp_path: Path) -> None:
        first = make()
        first.build_float(case.model, "fp32", tmp_path / "a.plan")
        content = first.extras()[TIMING_CACHE].read_bytes()
        second = make(folder="second", earlier=first.extras())
        built = second.build_float(case.model, "fp32", tmp_path / "a.plan")
        assert second.extras()[TIMING_CACHE].read_bytes() == content + b"."
        assert not any("timing cache" in note for note in built.notes)

    def test_another_versions_is_left_aside(self, make: Make, case: Case, tmp_path: Path) -> None:
        first = make()
        first.build_float(case.model, "fp32", tmp_path / "a.plan")
        second = make("10.3.0.26", folder="second", earlier=first.extras())
        built = second.build_float(case.model, "fp32", tmp_path / "a.plan")
        assert "timing cache is of another machine" in " ".join(built.notes)
        assert b"10.3.0.26" in second.extras()[TIMING_CACHE].read_bytes()


class TestLadder:
    def test_out_of_memory_takes_a_smaller_workspace(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make(workspace_mb=100)
        inject(monkeypatch, workspace_mb=60)
        built = builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
        assert built.notes[0].startswith("failed with all of the workspace")
        assert len(case.read) == 10, "the second attempt has the first one's calibration"

    def test_at_the_end_it_names_every_attempt_and_what_to_do(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make()
        inject(monkeypatch, workspace_mb=1)
        with pytest.raises(BuildError) as raised:
            builder.build_float(case.model, "fp16", tmp_path / "a.plan")
        said = str(raised.value)
        assert [said.count(words) for words in ("tried all of", "tried 1/2 of", "tried 1/4 of")] == [1, 1, 1]
        assert "OutOfMemory" in said
        assert "systemctl stop sightd" in said
        assert "up to 8" in said

    def test_precisions_that_can_not_be_obeyed_are_preferred(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make()
        inject(monkeypatch, obey=True)
        built = builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
        assert built.notes[0].startswith("failed with all of the workspace: error: 10:")
        assert "Could not find any implementation" in built.notes[0]
        assert "left to compute layers" in built.notes[-1]

    def test_a_failure_without_a_reason_is_not_tried_again(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make()
        inject(monkeypatch, silent=True)
        with pytest.raises(BuildError, match="TensorRT gives no reason"):
            builder.build_float(case.model, "fp32", tmp_path / "a.plan")

    def test_too_little_free_memory_is_told_before_anything_runs(self, make: Make, case: Case, tmp_path: Path) -> None:
        builder = make(available=lambda: 900)
        with pytest.raises(BuildError, match=r"only 900 MB.*sudo systemctl stop sightd"):
            builder.build_float(case.model, "fp32", tmp_path / "a.plan")

    def test_a_machine_that_runs_out_of_memory_meanwhile_kills_the_build(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = iter([8000, 100, 8000, 8000, 8000])
        builder = make("10.3.0.26", available=lambda: next(free, 8000))
        inject(monkeypatch, step_s=0.1)
        built = builder.build_float(case.model, "fp32", tmp_path / "a.plan")
        assert "only 100 MB of memory were left" in built.notes[0]


def test_what_the_parser_refuses_is_named(
    make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = make()
    inject(monkeypatch, refused="TopK")
    with pytest.raises(BuildError) as raised:
        builder.build_float(case.model, "fp32", tmp_path / "a.plan")
    assert "node sightd/best/TopK_0 (TopK): No importer registered for op: TopK" in str(raised.value)
    assert "opset 13 to 17" in str(raised.value)


def test_int8_that_tensorrt_does_not_choose_is_called_fp16(
    make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = make()
    inject(monkeypatch, no_int8=True)
    built = builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
    assert built.precision == "fp16"
    assert "no layer computes in INT8" in built.notes[-1]


def test_missing_pictures_are_no_end_of_data(make: Make, case: Case, tmp_path: Path) -> None:
    builder = make()
    calibration = replace(case.calibration(), count=12)
    with pytest.raises(CalibrationError, match="2 calibration pictures are missing"):
        builder.build_int8(case.model, calibration, ENTROPY, case.head, tmp_path / "a.plan")
    assert "calibration-tensorrt-entropy.cache" not in builder.extras()


def test_pictures_that_can_not_be_read_end_the_build(make: Make, case: Case, tmp_path: Path) -> None:
    def inputs() -> Iterator[np.ndarray]:
        yield case.pictures[0]
        raise OSError("the disk is gone")

    builder = make("10.3.0.26")
    with pytest.raises(OSError, match="the disk is gone"):
        builder.build_int8(
            case.model, replace(case.calibration(), inputs=inputs), ENTROPY, case.head, tmp_path / "a.plan"
        )


def test_a_fixed_batch_of_the_graph_wins(make: Make, case: Case, tmp_path: Path) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(case.model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    make().build_float(fixed, "fp32", tmp_path / "a.plan")
    assert header(tmp_path / "a.plan")["profile"] == {"min": 1, "opt": 1, "max": 1}


class TestOptions:
    @pytest.mark.parametrize(
        ("version", "options", "said"),
        [
            ("8.5.2.2", {"hardware_compatible": True}, "no hardware compatibility"),
            ("8.5.2.2", {"version_compatible": True}, "no builder flag VERSION_COMPATIBLE; it has"),
            ("8.5.2.2", {"optimization_level": 5}, "no optimization level"),
            ("8.5.2.2", {"tactic_sources": ("CUDNNN",)}, "no tactic source CUDNNN; it has CUBLAS"),
            ("10.3.0.26", {"preview_features": ("FASTER",)}, "no preview feature FASTER"),
            ("8.6.1.6", {"compute_capability": "8.6"}, "no building for a GPU that is not here"),
        ],
    )
    def test_what_this_version_lacks_is_refused(
        self, make: Make, case: Case, tmp_path: Path, version: str, options: Dict[str, Any], said: str
    ) -> None:
        builder = make(version, **options)
        with pytest.raises(BuildError, match=said):
            builder.build_float(case.model, "fp32", tmp_path / "a.plan")

    def test_what_it_has_is_taken(self, make: Make, case: Case, tmp_path: Path) -> None:
        builder = make(
            "8.6.1.6",
            hardware_compatible=True,
            version_compatible=True,
            optimization_level=5,
            tactic_sources=("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
            preview_features=("DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805",),
        )
        assert builder.build_float(case.model, "fp16", tmp_path / "a.plan").precision == "fp16"

    def test_a_dla_wants_a_fixed_batch_and_no_minmax(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(BuildError, match="one fixed batch, not 1 to 8"):
            make(dla_core=0)
        builder = make(dla_core=0, profile=Profile(1, 1, 1))
        assert builder.floats == ("fp16",)
        assert [one.algorithm for one in builder.families] == ["tensorrt-entropy", "mse", "percentile-99.999"]
        with pytest.raises(BuildError, match="no DLA core 0: TensorRT sees 0"):
            builder.build_float(case.model, "fp16", tmp_path / "a.plan")
        inject(monkeypatch, dla_cores=2)
        assert builder.build_float(case.model, "fp16", tmp_path / "a.plan").precision == "fp16"


class TestThisMachine:
    def test_is_recorded(self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        release = tmp_path / "nv_tegra_release"
        release.write_text("# R35 (release), REVISION: 2.1, GCID: 32413640, BOARD: t186ref\n")
        monkeypatch.setattr(builders, "_TEGRA_RELEASE", release)
        builder = make()
        record = builder.record(builder.build_float(case.model, "fp16", tmp_path / "a.plan"))
        assert record.kind == "tensorrt"
        assert record.precision == "fp16"
        assert record.versions == {
            "tensorrt": "8.5.2.2",
            "cuda": "12.6",
            "sm": "8.7",
            "device": "Orin",
            "l4t": "35.2.1",
        }
        assert record.layers["fp16"] > 5

    def test_in_what_another_may_differ_is_recorded(self, make: Make, tmp_path: Path) -> None:
        built = Built(tmp_path / "a.plan", "fp32")
        assert "compatible" not in make().record(built).versions
        wide = make(version_compatible=True, hardware_compatible=True)
        assert wide.record(built).versions["compatible"] == "version hardware"

    @pytest.mark.parametrize(("version", "said"), [("8.4.1.5", "too old"), ("10.2.0.19", "faulty")])
    def test_a_tensorrt_that_does_not_do_is_refused(self, make: Make, version: str, said: str) -> None:
        with pytest.raises(BuildError, match=said):
            make(version)

    def test_without_tensorrt_it_says_how_to_get_it(self, make: Make) -> None:
        with pytest.raises(BuildError, match="pip install tensorrt"):
            make(module="tensorrt_that_is_not_here")

    def test_without_a_gpu_tensorrt_does_not_start(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make()
        inject(monkeypatch, no_gpu=True)
        with pytest.raises(BuildError, match="TensorRT can't start"):
            builder.build_float(case.model, "fp32", tmp_path / "a.plan")

    def test_leaves_nothing_on_the_gpu(
        self, make: Make, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builder = make()
        gpu = make_gpu(monkeypatch, "8.5.2.2")
        builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
        assert gpu.alive() == {}


def test_layers_are_ranked_by_tensorrts_numbers(make: Make, case: Case) -> None:
    names = layers(case.model, case.head)
    steps: List[int] = []
    ranked = make().rank(case.model, case.ranges, names, case.head, case.pictures[:1], lambda: steps.append(1))
    assert {one.layer for one in ranked} == set(names)
    assert len(steps) == len(names)


def test_layers_kept_float_are_half_precision_and_decoding_is_exact(make: Make, case: Case) -> None:
    builder = make()
    exact = builder.exact_nodes(case.model)
    assert "sightd/best/TopK_0" in exact
    assert not exact & set(layers(case.model, set()))
    kept = {*case.head, "conv2"}
    int8 = builder.int8_nodes(case.model, kept, "")
    assert {"conv1", "conv3"} <= int8
    assert not int8 & kept
    assert builder.below_int8 == "fp16"
