"""The TensorRT builder with a real TensorRT: RTX, which has the API of TensorRT 11 and builds without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.builders.tensorrt import TensorRtBuilder
from converter.builders.tensorrt_order import TensorRtOptions
from converter.int8.plan import layers
from sightd.errors import BuildError
from sightd.manifest import Profile
from tests.parts.tensorrt_building import Case, Heard, blob_case

pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX: pip install -r tests/requirements.txt")

OPTIONS = TensorRtOptions(module="tensorrt_rtx_bindings", compute_capability="8.6")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return blob_case(tmp_path_factory.mktemp("blobs"))


def test_it_builds_float_half_and_int8(case: Case, tmp_path: Path) -> None:
    heard = Heard()
    builder = TensorRtBuilder(OPTIONS, Profile(), tmp_path, progress=heard)
    exact = builder.build_float(case.model, "fp32", tmp_path / "fp32.plan")
    half = builder.build_float(case.model, "fp16", tmp_path / "fp16.plan")
    recipe = builder.families[0]
    int8 = builder.build_int8(case.model, case.calibration(), recipe, case.head, tmp_path / "int8.plan")
    assert set(exact.layers) == {"fp32"}
    assert half.layers["fp16"] > half.layers["fp32"] > 0, "decoding stays exact"
    assert int8.layers["int8"] == len(layers(case.model, case.head))
    assert int8.precision == "int8"
    assert all(stage[0] == stage[1] == 100 for stage in heard.stages.values())
    assert len(heard.stages) == 3
    assert case.read == [], "no calibrator there: the scales are in the graph"
    assert [built.file.stat().st_size > 1000 for built in (exact, half, int8)] == [True] * 3
    assert builder.record(int8).versions["tensorrt"].startswith("1.")


def test_layers_that_stay_float_are_not_int8(case: Case, tmp_path: Path) -> None:
    builder = TensorRtBuilder(OPTIONS, Profile(), tmp_path)
    more = case.head | set(layers(case.model, case.head)[:2])
    built = builder.build_int8(case.model, case.calibration(), builder.families[0], more, tmp_path / "a.plan")
    assert built.layers["int8"] == len(layers(case.model, more))


def test_what_it_lacks_is_refused(case: Case, tmp_path: Path) -> None:
    options = TensorRtOptions(module=OPTIONS.module, compute_capability="8.6", tactic_sources=("CUBLAS",))
    builder = TensorRtBuilder(options, Profile(), tmp_path)
    with pytest.raises(BuildError, match="no tactic source CUBLAS; it has EDGE_MASK_CONVOLUTIONS"):
        builder.build_float(case.model, "fp32", tmp_path / "a.plan")
