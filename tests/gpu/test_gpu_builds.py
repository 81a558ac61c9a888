"""The builder on a real GPU: what its engines find, what calibration reads and keeps, builds that are ended."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import numpy as np
import pytest
from numpy.typing import NDArray

from converter.agreement.agree import Thresholds
from converter.agreement.gate import Gate
from converter.agreement.reference import Reference
from converter.builders.base import Calibration
from converter.builders.tensorrt_order import Message, Order, Wanted
from converter.builders.tensorrt_process import WorkerFailure, run_worker
from converter.calibration.frames import read_frames
from converter.progress import Silent
from sightd.engines.tensorrt_profiles import SLOTS
from sightd.manifest import OutputSpec
from tests.parts.blobs import LABELS, write_blob_pictures
from tests.parts.gpu_rig import INT8, PRECISIONS, PROFILE, Rig, furthest
from tests.parts.tensorrt_settings import tensorrt_settings

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

#: Furthest that boxes (pixels) and scores may be from ONNX Runtime's FP32: rounding, 11 bits, 8 bits.
TOLERANCES = {"fp32": (0.05, 0.001), "fp16": (0.5, 0.02), "int8": (3.0, 0.2)}


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("batch", [1, PROFILE.opt, PROFILE.max])
def test_an_engine_finds_what_onnx_runtime_does(
    tiny: Rig, name: str, batch: int, record: Callable[[str, Any], None]
) -> None:
    with tiny.reference() as reference:
        wanted = tiny.found(reference, batch)
    with tiny.open(tiny.plan(name)) as engine:
        apart = furthest(wanted, tiny.found(engine, batch))
    record(f"apart-{name}-{batch}", apart)
    pixels, scores = TOLERANCES[name.partition("-")[0]]
    assert sum(map(len, wanted)) == 5 * len(tiny.pictures)
    assert apart["missing"] == 0
    assert apart["pixels"] <= pixels
    assert apart["scores"] <= scores


@pytest.mark.parametrize("name", INT8)
def test_int8_is_what_most_layers_compute_in(tiny: Rig, name: str, record: Callable[[str, Any], None]) -> None:
    tiny.plan(name)
    built = tiny.built[name]
    record(f"built-{name}", {"layers": dict(built.layers), "seconds": built.seconds, "notes": built.notes})
    assert built.precision == "int8"
    assert built.layers.get("int8", 0) >= 1
    assert built.peak_rss_mb > 10


def test_float_engines_have_no_int8(tiny: Rig) -> None:
    for name in ("fp32", "fp16"):
        tiny.plan(name)
        assert "int8" not in tiny.built[name].layers


def test_the_record_says_what_the_engine_was_built_for(tiny: Rig, gpu: str) -> None:
    tiny.plan("fp16")
    record = tiny.builder.record(tiny.built["fp16"])
    assert record.versions["sm"] == gpu
    assert record.versions["tensorrt"].count(".") >= 2
    assert record.versions["device"]


@pytest.mark.parametrize("name", ["int8-entropy", "int8-minmax"])
def test_a_second_calibration_of_the_same_reads_no_picture(tiny: Rig, name: str, tmp_path: Path) -> None:
    tiny.plan(name)
    reads: List[int] = []
    again = tiny.build(tiny.builder, name, tmp_path / "again.plan", counted(tiny, reads))
    assert again.file.stat().st_size > 0
    assert reads == []
    with tiny.open(again.file) as engine, tiny.open(tiny.plan(name)) as first:
        assert furthest(tiny.found(first, 4), tiny.found(engine, 4))["missing"] == 0


def test_the_caches_of_a_bundle_serve_another_builder(tiny: Rig, tmp_path: Path) -> None:
    tiny.plan("int8-minmax")
    folder = tmp_path / "other"
    folder.mkdir()
    builder = type(tiny.builder)(tensorrt_settings(), PROFILE, folder, tiny.builder.extras())
    reads: List[int] = []
    built = tiny.build(builder, "int8-minmax", folder / "engine.plan", counted(tiny, reads))
    assert reads == []
    assert not [note for note in built.notes if "timing cache" in note]


@pytest.mark.parametrize("float_input", [False, True], ids=["uint8", "float32"])
def test_which_input_the_calibrator_takes(
    tiny: Rig, float_input: bool, tmp_path: Path, record: Callable[[str, Any], None]
) -> None:
    builder = tiny.new_builder(tmp_path / "builder", float_input=float_input)
    built = tiny.build(builder, "int8-minmax", tmp_path / "engine.plan")
    with tiny.reference() as reference, tiny.open(built.file) as engine:
        apart = furthest(tiny.found(reference, 4), tiny.found(engine, 4))
    record(f"calibrator-{'float32' if float_input else 'uint8'}", {**apart, "notes": built.notes})
    assert apart["missing"] == 0


def test_the_gate_lets_honest_engines_pass_and_names_their_speed(tiny: Rig, tmp_path: Path) -> None:
    frames = read_frames(write_blob_pictures(tmp_path / "frames", 120), count=40, holdout=60, seed=0)
    finished = tiny.finished
    gate = Gate.open(
        Reference(tiny.given, finished.spec, finished.head),
        frames,
        finished.spec,
        OutputSpec(candidates=finished.candidates),
        thresholds=Thresholds(),
        batches=[1, PROFILE.opt],
        progress=Silent(),
        labels=LABELS,
    )
    assert gate.judge_floor("tensorrt", tiny.plan("fp32"), "fp32").agrees
    assert gate.judge("tensorrt", tiny.plan("fp16"), "fp16").agrees
    times = gate.race("tensorrt", {"float": tiny.plan("fp32"), "int8": tiny.plan("int8-minmax")})
    assert times["int8"]["4"]["p50_ms"] > 0


def test_a_build_that_is_interrupted_leaves_no_plan_and_no_process(tiny: Rig, tmp_path: Path) -> None:
    order, pictures = calibrating_order(tiny, tmp_path)

    def interrupt(message: Message) -> None:
        if isinstance(message, Wanted):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker(order, tmp_path, pictures, interrupt)
    assert not Path(order.plan).exists()
    assert children() == []


def test_a_build_that_is_killed_is_a_failure_that_can_be_tried_again(tiny: Rig, tmp_path: Path) -> None:
    order, pictures = calibrating_order(tiny, tmp_path)

    def kill(message: Message) -> None:
        if isinstance(message, Wanted):
            for child in children():
                os.kill(child, signal.SIGKILL)

    with pytest.raises(WorkerFailure) as failure:
        run_worker(order, tmp_path, pictures, kill)
    assert failure.value.failed.kind == "memory"
    assert children() == []
    run_worker(order, tmp_path, calibrating_order(tiny, tmp_path)[1], lambda message: None)
    assert Path(order.plan).stat().st_size > 0


def counted(tiny: Rig, reads: List[int]) -> Calibration:
    """The calibration of before; *reads* grows with each picture that is read."""
    calibration = tiny.ready.calibration

    def read() -> Iterator[NDArray[np.uint8]]:
        for pixels in calibration.inputs():
            reads.append(1)
            yield pixels

    return replace(calibration, inputs=read)


def calibrating_order(tiny: Rig, folder: Path) -> Tuple[Order, Iterator[NDArray[np.uint8]]]:
    """An INT8 build that needs pictures, to be handed to a worker directly."""
    graph = folder / "graph.onnx"
    graph.write_bytes(tiny.finished.model.SerializeToString())
    spec = tiny.finished.spec
    pictures = list(tiny.ready.calibration.inputs())
    order = Order(
        tensorrt_settings(),
        onnx=str(graph),
        plan=str(folder / "engine.plan"),
        precision="int8",
        profile=PROFILE,
        copies=SLOTS,
        calibrator="minmax",
        pictures=len(pictures),
        height=spec.height,
        width=spec.width,
    )
    return order, iter(pictures)


def children() -> List[int]:
    """Processes that this one has started and that still run."""
    found: List[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if fields[1] == str(os.getpid()) and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)
