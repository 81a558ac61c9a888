"""The parts of a TensorRT build: batches, memory, log, progress, layers, caches and the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest

from converter.builders.tensorrt_cache import cache_key, load_cache, save_cache
from converter.builders.tensorrt_calibrator import Batches
from converter.builders.tensorrt_graph import decoding_nodes, in_half, with_float_input
from converter.builders.tensorrt_layers import count_inspected, count_logged
from converter.builders.tensorrt_log import Heard
from converter.builders.tensorrt_memory import Attempt, available_mb, check_free, limits
from converter.builders.tensorrt_order import Facts
from converter.builders.tensorrt_progress import Phases
from converter.int8.emit import emit
from converter.int8.targets import TENSORRT
from converter.search import Recipe
from sightd.errors import BuildError, CalibrationError
from tests.parts.tensorrt_building import Case, blob_case


class Source:
    """Pictures of one pixel, 0, 1, 2 ...; what is uploaded and written is kept."""

    def __init__(self, count: int, batch: int, **options: Any) -> None:
        self.uploaded: List[np.ndarray] = []
        self.written: List[bytes] = []
        self._next = 0
        given: Any = {"read": self.read, "upload": self.upload, "write": self.written.append, "as_float": False}
        self.batches = Batches(**{**given, **options}, count=count, batch=batch)

    def read(self, count: int) -> np.ndarray:
        start, self._next = self._next, self._next + count
        return np.arange(start, self._next, dtype=np.uint8).reshape(count, 1, 1, 1)

    def upload(self, batch: np.ndarray) -> int:
        self.uploaded.append(batch)
        return 0x1000

    def pull(self) -> int:
        count = 0
        while self.batches.next_batch(["images"]):
            count += 1
        return count


class TestBatches:
    def test_are_full_and_in_order_the_last_one_repeats_itself(self) -> None:
        source = Source(10, 4)
        assert source.pull() == 3
        values = [batch.reshape(-1).tolist() for batch in source.uploaded]
        assert values == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]
        source.batches.write_cache(memoryview(b"scales"))
        assert source.written == [b"scales"]
        assert source.batches.error is None

    def test_are_filled_even_where_one_picture_is_all(self) -> None:
        source = Source(1, 4, as_float=True)
        assert source.pull() == 1
        assert source.uploaded[0].dtype == np.float32
        assert source.uploaded[0].shape == (4, 1, 1, 1)
        assert source.uploaded[0].flags.c_contiguous

    def test_keep_the_first_error_and_give_nothing_afterwards(self) -> None:
        def fail(batch: np.ndarray) -> int:
            raise OSError("the GPU fell off the bus")

        source = Source(10, 4, upload=fail)
        assert source.pull() == 0
        assert source.batches.next_batch(["images"]) is None
        source.batches.write_cache(b"half of it")
        assert source.written == []
        assert isinstance(source.batches.error, OSError)

    def test_keep_an_error_of_writing(self) -> None:
        def fail(content: bytes) -> None:
            raise BrokenPipeError

        source = Source(4, 4, write=fail)
        source.pull()
        source.batches.write_cache(b"scales")
        assert isinstance(source.batches.error, BrokenPipeError)

    def test_that_were_not_all_taken_make_no_cache(self) -> None:
        source = Source(10, 4)
        source.batches.next_batch(["images"])
        source.batches.write_cache(b"scales")
        assert source.written == []
        assert isinstance(source.batches.error, CalibrationError)
        assert "last 6" in str(source.batches.error)

    def test_of_a_graph_with_two_inputs_are_refused(self) -> None:
        source = Source(4, 4)
        assert source.batches.next_batch(["images", "mask"]) is None
        assert "images, mask" in str(source.batches.error)

    def test_are_not_needed_with_a_cache(self) -> None:
        source = Source(0, 4, cache=b"scales")
        assert source.batches.read_cache() == b"scales"
        source.batches.write_cache(b"the same")
        assert source.written == []
        assert source.batches.error is None


class TestMemory:
    def test_a_jetson_shares_it_with_the_gpu(self) -> None:
        found = limits(Facts("8.5.2", True, False, integrated=True, free_mb=6000), 4256, 0, 1.0)
        assert (found.workspace_mb, found.tactic_dram_mb) == (2000, 4000)
        assert limits(Facts("8.5.2", True, False, integrated=True, free_mb=6000), 4256, 0, 0.5).tactic_dram_mb == 2000

    def test_a_card_has_its_own(self) -> None:
        found = limits(Facts("10.3.0", True, True, free_mb=24256), 4000, 0, 1.0)
        assert (found.workspace_mb, found.tactic_dram_mb) == (12000, 0)

    def test_what_is_asked_for_is_a_bound(self) -> None:
        facts = Facts("10.3.0", True, True, free_mb=4256)
        assert limits(facts, 9000, 512, 1.0).workspace_mb == 512
        assert limits(facts, 9000, 9999, 1.0).workspace_mb == 2000
        assert limits(facts, 9000, 512, 0.25).workspace_mb == 128

    def test_is_read_from_the_kernel(self, tmp_path: Path) -> None:
        assert available_mb() > 100
        (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:    2048000 kB\n")
        assert available_mb(tmp_path / "meminfo") == 2000
        (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\n")
        with pytest.raises(BuildError, match="kernel"):
            available_mb(tmp_path / "meminfo")

    def test_too_little_is_an_error_that_says_what_to_do(self) -> None:
        check_free(1024)
        with pytest.raises(BuildError, match="systemctl stop sightd"):
            check_free(1023)


def attempts(failures: Sequence[str]) -> List[Attempt]:
    made = [Attempt()]
    for failure in failures:
        following = made[-1].next(failure)
        if following is None:
            break
        made.append(following)
    return made


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (["memory"] * 9, [Attempt(1.0), Attempt(0.5), Attempt(0.25)]),
        (
            ["crash", "implementation", "crash", "crash"],
            [Attempt(), Attempt(0.5), Attempt(0.5, False), Attempt(0.25, False)],
        ),
        (["implementation", "implementation", "memory"], [Attempt(), Attempt(1.0, False)]),
        (["graph"], [Attempt()]),
        (["refused"], [Attempt()]),
    ],
)
def test_the_ladder_ends(failures: List[str], expected: List[Attempt]) -> None:
    made = attempts(failures)
    assert made == expected


def test_precisions_that_nobody_asked_for_are_not_dropped() -> None:
    assert Attempt(pinned=False).next("implementation") is None


class TestLayers:
    def test_of_85_to_10(self) -> None:
        def layer(kind: str, form: str, key: str = "Format/Datatype") -> dict:
            return {"LayerType": kind, "Inputs": [{"Name": "x", key: form}]}

        layers = [
            layer("CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format"),
            layer("CaskConvolution", "Four wide channel vectorized row major Int8 format"),
            layer("PointWiseV2", "Channel major FP16 format where C % 8 == 0"),
            layer("Myelin", "Row major linear FP32"),
            layer("kgen", "Half", "Datatype"),
            layer("Reformat", "Row major linear FP32"),
            layer("NoOp", "Row major linear FP32"),
            layer("gather", "Int32", "Datatype"),
            layer("kgen", "UInt8", "Datatype"),
            {"LayerType": "Constant", "Inputs": []},
            "only a name",
        ]
        text = json.dumps({"Layers": layers, "Bindings": ["images"]})
        assert count_inspected(text) == {"int8": 2, "fp16": 2, "fp32": 1}

    def test_of_the_log_of_85(self) -> None:
        """Lines of TensorRT 8.5.2.2's on an H200, with other names; the second profile tells the same again."""
        lines = [
            "Layer(ShapeHostToDevice): [HostToDeviceCopy 0], Tactic: 0x0000000000000000,  -> a (Int32[]), b (Int32[])",
            (
                "Layer(Myelin): {ForeignNode[c]}, Tactic: 0x0000000000000000, images (UInt8[-1,9,9,3]), a (Int32[]) -> "
                "d (Float[-1,9,9,3])"
            ),
            "Layer(Reformat): Reformatting d, Tactic: 0x00000000000003ea, d (Float[-1,9,9,3]) -> e (Float[-1,9,9,3])",
            "Layer(CaskConvolution): Conv_0 + Relu_1, Tactic: 0xa9366041633a5135, e (Int8[-1,3:4,9,9]) -> f (Half[4])",
            (
                "Layer(CaskConvolution): Conv_0 + Relu_1 [profile 1], Tactic: 0xa9366041633a5135, e [profile 1] "
                "(Int8[-1,3:4,9,9]) -> f [profile 1] (Half[-1,4])"
            ),
            (
                "Layer(PointWiseV2): PWN(PWN(Sigmoid_77), Mul_78), Tactic: 0x0000000000000016, Conv_79 || Conv_76 "
                "(Half[-1,32:4,52,52]) -> g (Half[-1,32:4,52,52])"
            ),
            "Layer(TopK): t, Tactic: 0x0000000000000003, g (Float[-1,484]) -> h (Float[-1,300])",
        ]
        heard = Heard()
        heard.hear(4, "\n".join(["Engine Layer Information:", *lines]))
        assert count_logged(heard.layers) == {"int8": 1, "fp16": 1, "fp32": 1}

    def test_of_a_log(self) -> None:
        lines = [
            "Name: a, LayerType: shape_call, Inputs: [], Outputs: []",
            "Name: b, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [-1,3], Datatype: Int8, Format: f }]",
            "Name: c, LayerType: kgen, Inputs: [ { Name: x, Dimensions: [-1,3], Datatype: Half, Format: f }]",
            "Layers:",
        ]
        assert count_logged(lines) == {"int8": 1, "fp16": 1}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([(1, "10: [optimizer.cpp] Could not find any implementation for node x (out of memory)")], "implementation"),
        ([(1, "[virtualMemoryBuffer.cpp::resizePhysical] OutOfMemory (no further information)")], "memory"),
        ([(2, "Requested amount of GPU memory (9 bytes) could not be allocated"), (1, "failed")], "memory"),
        ([(1, "Error Code 4: Internal Error (checkLinks::218)")], "build"),
        ([], "build"),
    ],
)
def test_the_log_tells_kinds_of_failure_apart(said: Any, kind: str) -> None:
    heard = Heard()
    for severity, text in said:
        heard.hear(severity, text)
    heard.hear(3, "info: out of memory is not said here")
    assert heard.failure() == kind
    assert len(heard.lines) == len(said)


def test_progress_never_falls() -> None:
    phases = Phases()
    seen: List[float] = []
    phases.start("whole", 2)
    for part in range(2):
        phases.start("part", 4)
        for step in range(4):
            phases.step("part", step)
            seen.append(phases.fraction)
        phases.finish("part")
        phases.step("whole", part)
        seen.append(phases.fraction)
    phases.step("unknown", 3)
    phases.finish("whole")
    assert seen == sorted(seen)
    assert seen[0] == 0.125
    assert phases.fraction == 1.0


def test_a_cache_is_only_its_own(tmp_path: Path) -> None:
    key, file = cache_key(b"graph", "frames", 4), tmp_path / "a.cache"
    assert len({key, cache_key(b"graph2", "frames", 4), cache_key(b"graph", "frames", 8)}) == 3
    assert load_cache(file, key) == b""
    save_cache(file, key, b"TRT-8502-EntropyCalibration2\na: 3c\n")
    assert load_cache(file, key).startswith(b"TRT-8502")
    assert load_cache(file, cache_key(b"graph", "others", 4)) == b""
    file.write_bytes(file.read_bytes()[:-1])
    assert load_cache(file, key) == b""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return blob_case(tmp_path_factory.mktemp("blobs"))


class TestGraph:
    def test_decoding_is_what_follows_the_predictions(self, case: Case) -> None:
        found = decoding_nodes(case.model)
        assert not any("/input/" in name for name in found)
        assert "sigmoid" in found
        assert any(name.startswith("sightd/best/TopK") for name in found)
        assert not found & {"predict_heat", "predict_sides", "conv1"}

    def test_a_half_graph_is_sound_and_computes_the_same(self, case: Case) -> None:
        half = in_half(case.model, decoding_nodes(case.model))
        onnx.checker.check_model(half)
        assert {value.type.tensor_type.elem_type for value in half.graph.input} == {2}
        exact, rounded = run(case.model, case.pictures[0]), run(half, case.pictures[0])
        np.testing.assert_allclose(rounded[1][:, :5], exact[1][:, :5], atol=0.02)
        np.testing.assert_allclose(rounded[0][:, :5], exact[0][:, :5], atol=0.5)

    def test_scales_stay_exact_in_a_half_int8_graph(self, case: Case) -> None:
        paired = emit(case.model, case.ranges, Recipe("mse", "conv", 0), TENSORRT, case.head)
        half = in_half(paired, decoding_nodes(case.model))
        onnx.checker.check_model(half)
        weights = {weight.name: weight.data_type for weight in half.graph.initializer}
        scales = [node.input[1] for node in half.graph.node if node.op_type == "DequantizeLinear"]
        assert scales
        assert {weights[name] for name in scales} == {onnx.TensorProto.FLOAT}
        assert onnx.TensorProto.FLOAT16 in set(weights.values())

    def test_a_float_input_changes_nothing_else(self, case: Case) -> None:
        floating = with_float_input(case.model)
        onnx.checker.check_model(floating)
        expected = run(case.model, case.pictures[0])
        for found, wanted in zip(run(floating, case.pictures[0].astype(np.float32)), expected):
            np.testing.assert_array_equal(found, wanted)

    def test_a_graph_that_was_not_finished_has_no_cast_to_take_away(self, case: Case) -> None:
        with pytest.raises(BuildError, match="not finished by this sightd"):
            with_float_input(with_float_input(case.model))

    def test_a_node_that_reads_nothing_is_reported(self, case: Case) -> None:
        broken = onnx.ModelProto()
        broken.CopyFrom(case.model)
        broken.graph.node[-1].input[0] = "nowhere"
        with pytest.raises(BuildError, match="reads what nothing makes"):
            in_half(broken, decoding_nodes(case.model))


def run(model: onnx.ModelProto, picture: np.ndarray) -> List[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: List[np.ndarray] = session.run(None, {"images": picture})
    return found
