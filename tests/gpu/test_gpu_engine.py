"""The TensorRT engine on a real GPU: reloading, endurance, plans to refuse, copies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, Callable, Deque, Dict

import numpy as np
import pytest

from sightd.engines import Engine, Ticket
from sightd.engines.cuda import Cuda, Stream
from sightd.engines.nvrtc import compile_kernels
from sightd.errors import EngineError
from sightd.types import InputSpec
from tests.parts.gpu_rig import PROFILE, Rig, furthest
from tests.parts.rehearsal import FAKES, rehearsing

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]
_MB = 1 << 20
#: Takes a while on one multiprocessor and touches no memory until its end.
_BUSY = """
extern "C" __global__ void busy(int *end, int rounds)
{
    int value = threadIdx.x;
    for (int round = 0; round < rounds; ++round)
        value = value * 1664525 + 1013904223;
    *end = value;
}
"""


def test_a_plan_loads_in_a_fresh_process_and_finds_the_same(tiny: Rig, tmp_path: Path) -> None:
    with tiny.open(tiny.plan("fp16")) as engine:
        here = tiny.found(engine, 4)
    there = in_a_process(_FIND, tiny, [tiny.plan("fp16")], tmp_path)[0]
    assert there["scores"] == [found.scores.tolist() for found in here]


def test_a_thousand_batches_take_no_more_memory(tiny: Rig, record: Callable[[str, Any], None]) -> None:
    with tiny.open(tiny.plan("int8-minmax")) as engine, Cuda() as cuda:
        engine.warm_up(tiny.pictures[0])  # as the daemon does: with CUDA graphs
        run_batches(engine, tiny, 100)
        free, rss = cuda.memory()[0], rss_bytes()
        run_batches(engine, tiny, 1000)
        grown = {"gpu": free - cuda.memory()[0], "rss": rss_bytes() - rss}
    record("growth-1000-batches", grown)
    assert grown["gpu"] <= _MB
    assert grown["rss"] <= 8 * _MB


def test_opening_and_closing_takes_no_more_memory(tiny: Rig, record: Callable[[str, Any], None]) -> None:
    with Cuda() as cuda:
        for _ in range(3):
            tiny.open(tiny.plan("fp16")).close()
        free = cuda.memory()[0]
        for _ in range(20):
            tiny.open(tiny.plan("fp16")).close()
        grown = free - cuda.memory()[0]
    record("growth-20-openings", grown)
    assert grown <= 2 * _MB


def test_a_batch_does_not_depend_on_the_others_under_way(tiny: Rig, record: Callable[[str, Any], None]) -> None:
    """All sizes between each other, as CUDA graphs where those are faster."""
    with tiny.open(tiny.plan("fp32")) as engine:
        alone = tiny.found(engine, 1)
        engine.warm_up(tiny.pictures[0])
        mixed = [tiny.found(engine, count) for count in (8, 3, 8, 1, 5, 2, 7, 4, 6, 1, 8)]
        record("graphs", list(engine.graph_batches()))
    for found in mixed:
        assert furthest(alone, found) == {
            "missing": 0,
            "pixels": pytest.approx(0, abs=0.05),
            "scores": pytest.approx(0, abs=1e-3),
        }


def test_results_come_in_order_with_all_slots_under_way(tiny: Rig) -> None:
    with tiny.open(tiny.plan("fp32")) as engine:
        wanted = [scores_of(engine, tiny, index) for index in range(8)]
        tickets: Deque[Ticket] = deque()
        got = []
        for index in range(8):
            slot = engine.slot()
            slot.put(0, tiny.pictures[index])
            tickets.append(engine.submit(slot, 1))
            if len(tickets) == engine.depth:
                got.append(tickets.popleft().result().scores[0])
        got += [ticket.result().scores[0] for ticket in tickets]
    for one, other in zip(wanted, got):
        assert one == pytest.approx(other, abs=1e-4)


def test_two_engines_on_one_thread_find_what_each_finds_alone(tiny: Rig) -> None:
    """As two models of a daemon: one context, streams of their own, batches under way at the same time."""
    with tiny.open(tiny.plan("fp32")) as engine:
        alone = [scores_of(engine, tiny, index) for index in range(8)]
    with tiny.open(tiny.plan("fp32")) as first:
        with tiny.open(tiny.plan("fp32")) as second:
            for index in range(8):
                tickets = []
                for engine, place in ((first, index), (second, 7 - index)):
                    slot = engine.slot()
                    slot.put(0, tiny.pictures[place])
                    tickets.append(engine.submit(slot, 1))
                late, early = (ticket.result().scores[0] for ticket in reversed(tickets))
                assert early == pytest.approx(alone[index], abs=1e-4)
                assert late == pytest.approx(alone[7 - index], abs=1e-4)
        assert scores_of(first, tiny, 0) == pytest.approx(alone[0], abs=1e-4), "though the other one is closed"


def test_where_the_letterbox_runs_changes_no_result(tiny: Rig) -> None:
    found = {}
    for where in ("cpu", "gpu"):
        with tiny.open(tiny.plan("fp16"), preprocess=where) as engine:
            found[where] = tiny.found(engine, 4)
    apart = furthest(found["cpu"], found["gpu"])
    assert apart["missing"] == 0
    assert apart["pixels"] <= 0.5


def test_copies_run_beside_computing(gpu: str, record: Callable[[str, Any], None]) -> None:
    """An upload on one stream and a kernel on another take less than one after the other, by the GPU's own clock."""
    with Cuda() as cuda, cuda.stream() as one, cuda.stream() as other:
        if cuda.integrated or rehearsing():
            pytest.skip("nothing is copied on an integrated GPU, nothing computed on a fake one")
        image = compile_kernels(_BUSY, cuda.sm, cuda.version)
        with cuda.load_kernel(image, "busy") as busy, cuda.mirror((64 * _MB,), np.uint8) as up, cuda.buffer(4) as end:

            def compute(stream: Stream) -> None:
                busy.launch(stream, (1, 1, 1), (32, 1, 1), end.address, np.int32(2_000_000))

            def both(stream: Stream) -> None:
                up.upload(one)
                compute(stream)

            copy = spent_ms(cuda, lambda: up.upload(one), one, one)
            kernel = spent_ms(cuda, lambda: compute(one), one, one)
            serial = spent_ms(cuda, lambda: both(one), one, one)
            beside = spent_ms(cuda, lambda: both(other), one, other)
    record("copy-beside-kernel", {"copy_ms": copy, "kernel_ms": kernel, "serial_ms": serial, "beside_ms": beside})
    assert beside < serial - 0.5 * min(copy, kernel)


def test_plans_that_are_not_whole_are_refused(tiny: Rig, tmp_path: Path, record: Callable[[str, Any], None]) -> None:
    plan = tiny.plan("fp16").read_bytes()
    spoilt = {
        "empty": b"",
        "a few bytes": plan[:20],
        "half": plan[: len(plan) // 2],
        "all but the last": plan[:-1],
        "no plan": b"\x7fELF" + bytes(1000),
        "flipped magic": bytes([plan[0] ^ 0xFF]) + plan[1:],
    }
    files = []
    for name, content in spoilt.items():
        files.append(tmp_path / f"{name}.plan")
        files[-1].write_bytes(content)
    told = dict(zip(spoilt, in_a_process(_FIND, tiny, files, tmp_path)))
    record("refusals", told)
    for name, one in told.items():
        assert "error" in one, f"{name} was loaded"
        assert "convert" in one["error"], one


def test_no_edit_of_a_header_crashes_the_process(tiny: Rig, tmp_path: Path, record: Callable[[str, Any], None]) -> None:
    """The header holds the versions and the compute capability: where, only the real thing tells."""
    plan = tiny.plan("fp16").read_bytes()
    files = []
    for place in range(0, 96, 4):
        files.append(tmp_path / f"{place:03}.plan")
        number = int.from_bytes(plan[place : place + 4], "little") + 1
        edited = (number % (1 << 32)).to_bytes(4, "little")
        files[-1].write_bytes(plan[:place] + edited + plan[place + 4 :])
    told = in_a_process(_FIND, tiny, files, tmp_path)
    record("header-edits", {"header": plan[:96].hex(), "told": dict(zip([file.name for file in files], told))})
    assert sum("error" in one for one in told) >= 2
    for one in told:
        assert one.get("kind") in (None, "EngineError", "EngineMismatch"), one


def test_what_the_inspector_tells(tiny: Rig, record: Callable[[str, Any], None]) -> None:
    """For people: the inspector of 8.5 has told no precisions where an engine has several profiles."""
    import tensorrt

    plan = tiny.plan("fp16").read_bytes()
    with Cuda():
        engine = tensorrt.Runtime(tensorrt.Logger()).deserialize_cuda_engine(plan)
        inspector = engine.create_engine_inspector()
        told = inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON)
        del inspector, engine
    record("inspector", told[:6000])
    assert "Layers" in json.loads(told)


def test_a_plan_of_another_input_is_refused(tiny: Rig) -> None:
    from sightd.engines import EngineOptions, load_engine

    other = InputSpec(64, 64)
    with pytest.raises(EngineError):
        load_engine("tensorrt", tiny.plan("fp16"), other, PROFILE.max, EngineOptions()).close()


def test_more_than_the_profile_is_refused(tiny: Rig) -> None:
    with pytest.raises(EngineError):
        tiny.open(tiny.plan("fp16"), max_batch=PROFILE.max + 1).close()


def run_batches(engine: Engine, tiny: Rig, count: int) -> None:
    for number in range(count):
        size = (1, PROFILE.opt, PROFILE.max)[number % 3]
        slot = engine.slot()
        for index in range(size):
            slot.put(index, tiny.pictures[(number + index) % len(tiny.pictures)])
        engine.submit(slot, size).result()


def scores_of(engine: Engine, tiny: Rig, index: int) -> Any:
    slot = engine.slot()
    slot.put(0, tiny.pictures[index])
    return engine.submit(slot, 1).result().scores[0]


def spent_ms(cuda: Cuda, work: Callable[[], Any], first: Any, last: Any) -> float:
    """Milliseconds of GPU time of *work*, which begins on *first* and ends on both; the least of five."""
    times = []
    for _ in range(5):
        began, ended, end_of_first = (cuda.event(timing=True) for _ in range(3))
        began.record(first)
        work()
        end_of_first.record(first)
        ended.record(last)
        first.synchronize()
        last.synchronize()
        times.append(max(ended.ms_since(began), end_of_first.ms_since(began)))
        for event in (began, ended, end_of_first):
            event.close()
    return min(times)


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


#: Reads JSON from stdin: pictures and plans; prints what each plan finds or how it is refused.
_FIND = """
import json, sys
import numpy as np
from pathlib import Path
from converter.agreement.measure import detect
from sightd.manifest import OutputSpec
from sightd.engines import EngineOptions, load_engine
from sightd.errors import EngineError
from sightd.types import InputSpec
given = json.load(sys.stdin)
pictures = np.load(given["pictures"])
spec = InputSpec(**given["spec"])
told = []
for plan in given["plans"]:
    try:
        with load_engine("tensorrt", Path(plan), spec, given["batch"], EngineOptions(preprocess="cpu")) as engine:
            found = detect(engine, list(pictures), OutputSpec(), 0.3, batch=4)
            told.append({"scores": [one.scores.tolist() for one in found]})
    except EngineError as error:
        told.append({"kind": type(error).__name__, "error": str(error)})
sys.stderr.flush()
print(json.dumps(told))
"""


def in_a_process(program: str, tiny: Rig, plans: Any, folder: Path) -> Any:
    """What *program* prints of *plans*: a crash is its own, and fails the test."""
    np.save(str(folder / "pictures.npy"), np.stack(tiny.pictures))
    given: Dict[str, Any] = {
        "pictures": str(folder / "pictures.npy"),
        "spec": {name: getattr(tiny.finished.spec, name) for name in tiny.finished.spec.__dataclass_fields__},
        "plans": [str(plan) for plan in plans],
        "batch": PROFILE.max,
    }
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", (FAKES if rehearsing() else "") + program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])
