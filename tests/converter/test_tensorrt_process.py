"""The TensorRT worker as a process: crashes, noise, cancellation, a parent that dies; with a fake TensorRT in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

from converter.builders import tensorrt_process
from converter.builders.tensorrt import TensorRtBuilder
from converter.builders.tensorrt_order import Facts, Finished, Message, Order, TensorRtOptions, write_order
from converter.builders.tensorrt_process import WorkerFailure, run_worker
from converter.search import Recipe
from sightd.errors import BuildError
from sightd.manifest import Profile
from tests.parts.fake_tensorrt_child import MODULE, VERSION
from tests.parts.tensorrt_building import Case, blob_case, inject

ENTROPY = Recipe("tensorrt-entropy", "all", 0)
OPTIONS = TensorRtOptions(module=MODULE)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return blob_case(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def order(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """A float build with TensorRT 10.3."""
    monkeypatch.setenv(VERSION, "10.3.0.26")
    (tmp_path / "graph.onnx").write_bytes(case.model.SerializeToString())
    return Order(OPTIONS, onnx=str(tmp_path / "graph.onnx"), plan=str(tmp_path / "a.plan"))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> List[subprocess.Popen]:
    """Those that are started."""
    started: List[subprocess.Popen] = []
    start = tensorrt_process._started

    def kept(folder: Path, errors: Any) -> Any:
        started.append(start(folder, errors))
        return started[-1]

    monkeypatch.setattr(tensorrt_process, "_started", kept)
    return started


def interrupt(message: Message) -> None:
    if not isinstance(message, Facts):
        raise KeyboardInterrupt


def test_a_build_survives_what_libraries_print(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, noise='{"type":"failed"}\nhello\n')
    heard: List[Message] = []
    run_worker(order, tmp_path, iter(()), heard.append)
    assert isinstance(heard[0], Facts)
    assert isinstance(heard[-1], Finished)
    assert Path(order.plan).exists()
    assert "hello" in (tmp_path / "tensorrt.log").read_text()


def test_an_int8_build_calibrates_through_the_pipe(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VERSION, "8.5.2.2")
    builder = TensorRtBuilder(OPTIONS, Profile(), tmp_path)
    built = builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
    assert built.layers["int8"] == 5
    assert 20 < built.peak_rss_mb < 4000


def test_a_crash_on_103_is_tried_three_times_and_sends_to_fp16(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VERSION, "10.3.0.26")
    inject(monkeypatch, signal=int(signal.SIGSEGV))
    builder = TensorRtBuilder(OPTIONS, Profile(), tmp_path)
    with pytest.raises(BuildError) as raised:
        builder.build_int8(case.model, case.calibration(), ENTROPY, case.head, tmp_path / "a.plan")
    assert str(raised.value).count("the build crashed (SIGSEGV)") == 4
    assert "use FP16 here" in str(raised.value)
    assert "calibration-tensorrt-entropy.cache" in builder.extras(), "what was calibrated before is not lost"


def test_a_worker_killed_by_the_kernel_ran_out_of_memory(
    order: Order, tmp_path: Path, processes: List[subprocess.Popen]
) -> None:
    def kill(message: Message) -> None:
        os.kill(processes[0].pid, signal.SIGKILL)

    with pytest.raises(WorkerFailure) as raised:
        run_worker(order, tmp_path, iter(()), kill)
    assert raised.value.failed.kind == "memory"


def test_an_error_that_nobody_foresaw_is_quoted(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VERSION, "10.x")  # no TensorRT calls itself that
    with pytest.raises(WorkerFailure) as raised:
        run_worker(order, tmp_path, iter(()), lambda message: None)
    assert raised.value.failed.kind == "build"
    assert "ValueError" in raised.value.failed.log[-1]


def test_ctrl_c_stops_the_worker(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: List[subprocess.Popen]
) -> None:
    inject(monkeypatch, step_s=0.5)
    with pytest.raises(KeyboardInterrupt):
        run_worker(order, tmp_path, iter(()), interrupt)
    assert processes[0].poll() == 1, "it stopped by itself, as TensorRT was told to"
    assert not Path(order.plan).exists()


def test_a_worker_that_does_not_stop_is_killed(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: List[subprocess.Popen]
) -> None:
    monkeypatch.setattr(tensorrt_process, "_STOP_S", 0.2)
    inject(monkeypatch, step_s=10)
    with pytest.raises(ZeroDivisionError):
        run_worker(order, tmp_path, iter(()), lambda message: divmod(1, 0))
    assert processes[0].poll() == -signal.SIGKILL


def test_a_worker_whose_parent_died_ends(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, step_s=0.2)
    with (tmp_path / "log").open("wb") as log, tensorrt_process._started(tmp_path, log) as process:
        write_order(process.stdin, order)
        assert process.stdout.read(1)
        process.stdin.close()
        assert process.wait(20) == 1


def test_the_kernel_is_to_take_the_worker_first(
    order: Order, tmp_path: Path, processes: List[subprocess.Popen]
) -> None:
    found: List[str] = []

    def look(message: Message) -> None:
        if isinstance(message, Facts):
            found.append(Path(f"/proc/{processes[0].pid}/oom_score_adj").read_text())

    run_worker(order, tmp_path, iter(()), look)
    assert found == ["1000\n"]


def test_the_worker_is_in_a_session_of_its_own(order: Order, tmp_path: Path, processes: List[subprocess.Popen]) -> None:
    sessions: List[int] = []

    def look(message: Message) -> None:
        if isinstance(message, Facts):
            sessions.append(os.getsid(processes[0].pid))

    run_worker(order, tmp_path, iter(()), look)
    assert sessions == [processes[0].pid]


def test_the_worker_imports_nothing_heavy() -> None:
    program = (
        "import sys, converter.builders.tensorrt_worker; "
        "print(sorted({'torch', 'onnxruntime', 'onnx', 'cv2', 'tensorrt', 'pycuda'} & set(sys.modules)))"
    )
    root = Path(tensorrt_process.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
