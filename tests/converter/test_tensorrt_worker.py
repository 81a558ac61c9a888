"""The TensorRT worker's side of the pipes: a parent that dies, at every moment."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, List

import msgspec
import pytest

from converter.builders import tensorrt_worker
from converter.builders.tensorrt_order import (
    Facts,
    Failed,
    Finished,
    Message,
    Order,
    TensorRtOptions,
    Wanted,
    decode_message,
    write_order,
)
from converter.builders.tensorrt_worker import serve
from sightd.manifest import Profile
from tests.parts.fake_tensorrt import install
from tests.parts.tensorrt_building import Case, blob_case, inject


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return blob_case(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def order(case: Case, tmp_path: Path) -> Order:
    (tmp_path / "graph.onnx").write_bytes(case.model.SerializeToString())
    return Order(
        TensorRtOptions(),
        onnx=str(tmp_path / "graph.onnx"),
        plan=str(tmp_path / "a.plan"),
        precision="int8",
        calibrator="entropy",
        pictures=10,
        height=96,
        width=96,
    )


class Served:
    """A worker that is served *before*, and whose parent goes when it has said *until*."""

    def __init__(self, order: Order, before: bytes = b"", until: Any = Facts) -> None:
        self.said: List[Message] = []
        self.left: List[int] = []
        self._gone, self._until = threading.Event(), until
        content = io.BytesIO()
        write_order(content, order)
        self._in = io.BytesIO(content.getvalue() + before)
        self.code = serve(self._read, self._write, self.left.append)

    def _read(self, size: int) -> bytes:
        data = self._in.read(size)
        if not data:
            assert self._gone.wait(20)
        return data

    def _write(self, data: bytes) -> int:
        self.said.append(decode_message(data))
        if isinstance(self.said[-1], self._until):
            self._gone.set()
        return len(data)


def test_an_order_that_is_cut_off_is_refused(order: Order) -> None:
    content = io.BytesIO()
    write_order(content, order)
    said: List[Message] = []

    def write(data: bytes) -> int:
        said.append(decode_message(data))
        return len(data)

    for length in (0, 5, 100):
        assert serve(io.BytesIO(content.getvalue()[:length]).read, write, [].append) == 1
    assert [type(one) for one in said] == [Failed] * 3


@pytest.mark.parametrize("bytes_before", [0, 96 * 96 * 3 * 4 + 1000])
def test_pictures_that_are_cut_off_are_no_end_of_data(
    order: Order, monkeypatch: pytest.MonkeyPatch, bytes_before: int
) -> None:
    install(monkeypatch, "8.5.2.2")
    served = Served(order, b"\x40" * bytes_before)
    failed = served.said[-1]
    assert served.code == 1
    assert isinstance(failed, Failed)
    assert failed.kind == "calibration"
    assert "sender has gone" in failed.reason
    assert not Path(order.plan).exists()


def test_a_parent_that_goes_while_building_ends_it(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "10.3.0.26")
    inject(monkeypatch, step_s=0.05)
    served = Served(msgspec.structs.replace(order, precision="fp16", calibrator="", pictures=0))
    assert isinstance(served.said[-1], Failed)
    assert served.said[-1].kind == "cancelled"
    assert served.left == []


def test_a_build_that_can_not_be_stopped_ends_with_its_process(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "8.5.2.2")
    monkeypatch.setattr(tensorrt_worker, "_GRACE_S", 0.05)
    inject(monkeypatch, step_s=0.1)
    served = Served(msgspec.structs.replace(order, precision="fp16", calibrator="", pictures=0))
    assert served.left == [1]


def test_a_calibration_that_fails_stops_a_build_that_can_be_stopped(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = install(monkeypatch, "10.3.0.26")
    calibrated = Served(order, b"\x40" * 96 * 96 * 3 * 10, until=Finished)
    assert isinstance(calibrated.said[-1], Finished)
    assert [one.pictures for one in calibrated.said if isinstance(one, Wanted)] == [4, 4, 2]
    gpu.fail_at(gpu.routines.index("cuMemcpyHtoD") + 1 if "cuMemcpyHtoD" in gpu.routines else 12)
    failing = Served(order, b"\x40" * 96 * 96 * 3 * 10, until=(Finished, Failed))
    assert isinstance(failing.said[-1], Failed)


def test_nobody_to_be_told_is_no_further_error(order: Order) -> None:
    def write(data: bytes) -> int:
        raise BrokenPipeError

    assert serve(io.BytesIO().read, write, [].append) == 1


def test_memory_that_runs_out_in_python_is_memory(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "8.5.2.2")

    def fail(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tensorrt_worker, "Build", fail)
    failed = Served(order).said[-1]
    assert isinstance(failed, Failed)
    assert failed.kind == "memory"


def test_the_order_and_its_answers_survive_the_pipe(order: Order) -> None:
    content = io.BytesIO()
    write_order(content, msgspec.structs.replace(order, cache=b"\x00\xff", profile=Profile(1, 2, 3)))
    content.seek(0)
    read = tensorrt_worker.read_order(content.read)
    assert (read.cache, read.profile, read.options) == (b"\x00\xff", Profile(1, 2, 3), order.options)
    assert Facts("10.13.3.9", True, True).version == (10, 13, 3, 9) > (8, 6)
