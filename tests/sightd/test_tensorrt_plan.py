"""What becomes of plans that TensorRT refuses, or that are of another model: the error says what to do."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, Tuple, Type
from unittest.mock import Mock

import pytest

from sightd.engines.cuda import Cuda
from sightd.engines.tensorrt_plan import (
    TensorRtLog,
    check_contract,
    deserialize,
    new_runtime,
    tensorrt_log,
    tensorrt_module,
)
from sightd.errors import EngineError, EngineMismatch
from sightd.types import InputSpec
from tests.parts import fake_cuda
from tests.parts.fake_cuda import FakeGpu
from tests.parts.fake_tensorrt import install
from tests.parts.fake_tensorrt_runtime import make_plan
from tests.parts.finished import bright_quadrants

SPEC = InputSpec(64, 48)
REBUILD = r"; build it anew: sightd convert --rebuild .*bundle$"
AGAIN = r"; convert the model again, or restore the bundle from a copy$"

SERIALIZATION = "1: [stdArchiveReader.cpp::StdArchiveReader::42] Error Code 1: Serialization (Serialization assertion "
#: What real ones say: a mismatch's or a damage's messages -> error, what of it is told.
REFUSALS: Dict[str, Tuple[str, Type[EngineError], str]] = {
    "other TensorRT, minor": (
        (
            f"{SERIALIZATION}stdVersionRead == serializationVersion failed.Version tag does not match. "
            "Note: Current Version: 205, Serialized Engine Version: 213) "
            "4: [runtime.cpp::deserializeCudaEngine::66] Error Code 4: Internal Error (Engine deserialization failed.)"
        ),
        EngineMismatch,
        f"it was built by another version of TensorRT{REBUILD}",
    ),
    "other TensorRT, 10": (
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 239, "
            "Serialized Engine Version: 238)"
        ),
        EngineMismatch,
        f"it was built by another version of TensorRT{REBUILD}",
    ),
    "other TensorRT, patch": (
        (
            "6: The engine plan file is not compatible with this version of TensorRT, expecting library version "
            "8.5.2.2 got 8.5.3.1, please rebuild."
        ),
        EngineMismatch,
        rf"it was built by TensorRT 8\.5\.3\.1, this machine has 8\.5\.2\.2{REBUILD}",
    ),
    "other GPU": (
        (
            "6: The engine plan file is generated on an incompatible device, expecting compute 8.7 got compute 7.2, "
            "please rebuild."
        ),
        EngineMismatch,
        rf"it was built for compute capability 7\.2, this GPU has 8\.7{REBUILD}",
    ),
    "other GPU, in other words": (
        "6: The engine plan file is generated on an incompatible device",
        EngineMismatch,
        f"it was built for another GPU{REBUILD}",
    ),
    "no plan": (
        (
            "1: [runtime.cpp::parsePlan::314] Error Code 1: Serialization (Serialization assertion "
            "plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)"
        ),
        EngineError,
        f"it is no TensorRT engine, or a damaged one{AGAIN}",
    ),
    "cut off": (
        (
            f"{SERIALIZATION}sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.Size specified in header does "
            "not match archive size)"
        ),
        EngineError,
        f"it is cut off or damaged{AGAIN}",
    ),
    "cut off in its header": (
        (
            "1: [archiveReader.cpp::consumeBytes::56] Error Code 1: Serialization (Serialization assertion "
            "count <= mEnd - mCurrent failed.Trying to consume past end of archive)"
        ),
        EngineError,
        f"it is cut off or damaged{AGAIN}",
    ),
    "damaged in its header": (
        (
            "1: [archiveReader.cpp::scanTypehash::70] Error Code 1: Serialization (Serialization assertion "
            "actualTypehash == expectedTypehash failed.)"
        ),
        EngineError,
        f"it is cut off or damaged{AGAIN}",
    ),
    "out of memory": (
        "1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)",
        EngineError,
        "too little GPU memory to load it; end other programs, or take a smaller max_batch$",
    ),
    "a reason not known": (
        "3: the moon is full",
        EngineError,
        r"TensorRT can't load it \(3: the moon is full\); convert the model again$",
    ),
    "no reason": ("", EngineError, r"TensorRT can't load it \(it gave no reason\); convert the model again$"),
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return install(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sound plan for the fake Orin with TensorRT 8.5.2.2, in a bundle."""
    (tmp_path / "bundle").mkdir()
    return written(tmp_path / "bundle" / "engine.plan", SPEC)


def written(file: Path, spec: InputSpec, **built: Any) -> Path:
    file.write_bytes(make_plan(bright_quadrants(file.with_suffix(".onnx"), spec).read_bytes(), **built))
    return file


@contextmanager
def loaded(file: Path) -> Iterator[Any]:
    """The engine."""
    with started() as (runtime, log):
        yield deserialize(runtime, log, file)


@contextmanager
def started() -> Iterator[Tuple[Any, TensorRtLog]]:
    """TensorRT's runtime and what hears it."""
    trt, log = tensorrt_module(), TensorRtLog()
    logger = tensorrt_log(trt, log)
    with Cuda():
        yield new_runtime(trt, log, logger), log


class TestRefusals:
    @pytest.mark.parametrize(("said", "error", "told"), list(REFUSALS.values()), ids=list(REFUSALS))
    def test_what_tensorrt_says_becomes_what_to_do(
        self, file: Path, said: str, error: Type[EngineError], told: str
    ) -> None:
        log = TensorRtLog()

        def refuse(plan: bytes) -> None:
            if said:
                log.hear(1, said)

        runtime = SimpleNamespace(deserialize_cuda_engine=refuse)
        with pytest.raises(EngineError, match=told) as raised:
            deserialize(runtime, log, file)
        assert type(raised.value) is error
        assert str(raised.value).startswith(f"{file}: ")
        assert log.errors() == []

    def test_a_long_reason_is_cut(self, file: Path) -> None:
        log = TensorRtLog()
        log.hear(1, "moon " * 1000)
        with pytest.raises(EngineError) as raised:
            deserialize(SimpleNamespace(deserialize_cuda_engine=lambda plan: None), log, file)
        assert len(str(raised.value)) < len(str(file)) + 600

    @pytest.mark.parametrize(
        ("built", "told"),
        [
            ({"tensorrt": "8.6.1"}, "it was built by another version of TensorRT"),
            ({"tensorrt": "8.5.3.1"}, r"it was built by TensorRT 8\.5\.3\.1, this machine has 8\.5\.2\.2"),
            ({"sm": "7.2"}, r"it was built for compute capability 7\.2, this GPU has 8\.7"),
        ],
    )
    def test_a_plan_for_another_machine_is_a_mismatch(
        self, gpu: FakeGpu, file: Path, built: Dict[str, str], told: str
    ) -> None:
        with pytest.raises(EngineMismatch, match=told + REBUILD), loaded(written(file, SPEC, **built)):
            pass

    @pytest.mark.parametrize(
        ("keep", "told"),
        [
            (slice(-1), "cut off"),
            (slice(1000), "cut off"),
            (slice(9), "cut off"),
            (slice(1, None), "no TensorRT engine"),
        ],
    )
    def test_a_plan_that_is_not_whole_is_damaged(self, gpu: FakeGpu, file: Path, keep: slice, told: str) -> None:
        file.write_bytes(file.read_bytes()[keep])
        with pytest.raises(EngineError, match=told) as raised, loaded(file):
            pass
        assert not isinstance(raised.value, EngineMismatch)

    def test_too_little_gpu_memory_is_told(self, gpu: FakeGpu, file: Path) -> None:
        with started() as (runtime, log):
            gpu.fail_at(1, fake_cuda.MemoryError("out of memory"))
            with pytest.raises(EngineError, match="too little GPU memory"):
                deserialize(runtime, log, file)

    def test_an_empty_file_is_told(self, gpu: FakeGpu, file: Path) -> None:
        file.write_bytes(b"")
        with pytest.raises(EngineError, match="the engine is empty; convert the model again"), loaded(file):
            pass

    def test_a_missing_file_is_told(self, gpu: FakeGpu, tmp_path: Path) -> None:
        told = r"none\.plan: the engine can't be read \(No such file"
        with pytest.raises(EngineError, match=told), loaded(tmp_path / "none.plan"):
            pass


class TestLoading:
    def test_a_sound_plan_loads(self, gpu: FakeGpu, file: Path) -> None:
        with loaded(file) as engine:
            assert engine.num_io_tensors == 4

    def test_another_model_of_device_is_no_reason_to_refuse(
        self, monkeypatch: pytest.MonkeyPatch, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        install(monkeypatch, device="Orin Nano")
        with caplog.at_level(logging.DEBUG), loaded(file) as engine:
            assert engine.num_io_tensors == 4
        assert [record.levelno for record in caplog.records if "different models" in record.message] == [logging.DEBUG]

    def test_plans_may_hold_their_runtime_from_8_6_on(self, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        install(monkeypatch, "8.6.1")
        with loaded(written(file, SPEC, tensorrt="8.6.1")) as engine:
            assert engine.runtime.engine_host_code_allowed is True

    def test_a_runtime_that_does_not_start_is_told(self, gpu: FakeGpu) -> None:
        trt, log = tensorrt_module(), TensorRtLog()
        logger = tensorrt_log(trt, log)
        gpu.fail_at(1)
        with pytest.raises(EngineError, match=r"TensorRT 8\.5\.2\.2 does not start here \(pybind11.*driver"):
            new_runtime(trt, log, logger)
        log.hear(1, "CUDA initialization failure with error: 35")
        gpu.fail_at(1)
        with pytest.raises(EngineError, match=r"does not start here \(CUDA initialization failure with error: 35\)"):
            new_runtime(trt, log, logger)

    def test_missing_tensorrt_is_told_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(EngineError, match=r"TensorRT can't be imported.*apt install python3-libnvinfer"):
            tensorrt_module()


class TestLog:
    def test_errors_are_kept_until_asked_for_and_warnings_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        log = TensorRtLog()
        with caplog.at_level(logging.DEBUG):
            for severity, message in enumerate(["internal", "error", "warning", "info", "verbose"]):
                log.hear(severity, message)
        assert log.errors() == ["internal", "error"]
        assert log.errors() == []
        assert [record.getMessage() for record in caplog.records] == ["TensorRT: warning"]

    def test_the_last_errors_are_kept(self) -> None:
        log = TensorRtLog()
        for number in range(100):
            log.hear(1, str(number))
        assert log.errors() == [str(number) for number in range(80, 100)]

    def test_tensorrt_tells_it(self, gpu: FakeGpu) -> None:
        trt, log = tensorrt_module(), TensorRtLog()
        tensorrt_log(trt, log).log(trt.ILogger.ERROR, "broken")
        assert log.errors() == ["broken"]


def described(least: int = 1, most: int = 4, **tensors: Tuple[Tuple[int, ...], str]) -> Any:
    """What an engine says of itself; its tensors unless told otherwise are those of a finished model."""
    usual = {
        "images": ((-1, 48, 64, 3), "UINT8"),
        "boxes": ((-1, 100, 4), "FLOAT"),
        "scores": ((-1, 100), "FLOAT"),
        "classes": ((-1, 100), "INT32"),
    }
    found = {name: value for name, value in {**usual, **tensors}.items() if value}
    return SimpleNamespace(
        num_io_tensors=len(found),
        get_tensor_name=list(found).__getitem__,
        get_tensor_shape=lambda name: found[name][0],
        get_tensor_dtype=lambda name: SimpleNamespace(name=found[name][1]),
        get_tensor_profile_shape=Mock(return_value=[(batch, 48, 64, 3) for batch in (least, most, most)]),
    )


class TestContract:
    @pytest.mark.parametrize("kind", ["UINT8", "FLOAT"])
    def test_a_finished_model_passes(self, kind: str) -> None:
        assert check_contract(Path("x.plan"), described(images=((-1, 48, 64, 3), kind)), SPEC, 4) == kind

    def test_a_fixed_batch_passes_where_it_is_one(self) -> None:
        assert check_contract(Path("x.plan"), described(images=((1, 48, 64, 3), "UINT8")), SPEC, 1) == "UINT8"

    def test_a_number_of_candidates_that_is_not_told_passes(self) -> None:
        assert check_contract(Path("x.plan"), described(boxes=((-1, -1, 4), "FLOAT")), SPEC, 4) == "UINT8"

    @pytest.mark.parametrize(
        ("tensors", "told"),
        [
            ({"boxes": None}, "it has images, scores, classes; convert the model"),
            ({"masks": ((-1, 1), "FLOAT")}, "it has images, boxes, scores, classes, masks; convert the model"),
            ({"images": ((-1, 64, 48, 3), "UINT8")}, r"UINT8 \(-1, 64, 48, 3\), .* FLOAT \('N', 48, 64, 3\); convert"),
            ({"images": ((-1, 3, 48, 64), "FLOAT")}, r"its input is FLOAT \(-1, 3, 48, 64\)"),
            ({"images": ((-1, 48, 64, 3), "HALF")}, r"its input is HALF \(-1, 48, 64, 3\)"),
            (
                {"boxes": ((-1, 100, 5), "FLOAT")},
                r"'boxes' is FLOAT \(-1, 100, 5\), not FLOAT \('N', 'K', 4\); convert",
            ),
            ({"boxes": ((-1, 100, 4), "HALF")}, r"'boxes' is HALF"),
            ({"boxes": ((-1, 99, 4), "FLOAT")}, r"'boxes' is FLOAT \(-1, 99, 4\)"),
            ({"scores": ((-1, 100, 80), "FLOAT")}, r"'scores' is FLOAT \(-1, 100, 80\), not FLOAT \('N', 'K'\)"),
            ({"scores": ((-1,), "FLOAT")}, r"output '(boxes|scores)' is FLOAT"),
            ({"classes": ((-1, 100), "INT64")}, r"'classes' is INT64 \(-1, 100\), not INT32"),
            ({"classes": ((-1, 99), "INT32")}, r"'classes' is INT32 \(-1, 99\)"),
        ],
    )
    def test_another_models_engine_is_refused(self, tensors: Dict[str, Any], told: str) -> None:
        with pytest.raises(EngineError, match=f"^x.plan: .*{told}"):
            check_contract(Path("x.plan"), described(**tensors), SPEC, 4)

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"most": 3}, "batches of 1 to 3, 1 to 4 are asked for; convert"),
            ({"least": 2, "most": 8}, "batches of 2 to 8, 1 to 4 are asked for; convert"),
            ({"images": ((1, 48, 64, 3), "UINT8")}, "batches of 1 to 1, 1 to 4"),
            ({"images": ((4, 48, 64, 3), "UINT8")}, "batches of 4 to 4, 1 to 4"),
        ],
    )
    def test_other_batches_are_refused(self, given: Dict[str, Any], told: str) -> None:
        with pytest.raises(EngineError, match=told):
            check_contract(Path("x.plan"), described(**given), SPEC, 4)
