"""TensorRT's explicit Q/DQ path for real: the worker builds INT8 engines with TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import cv2
import numpy as np
import onnx
import pytest

from converter.builders.tensorrt_order import Facts, Finished, Message, Order, Step, TensorRtOptions
from converter.builders.tensorrt_process import WorkerFailure, run_worker
from converter.int8.emit import emit
from converter.int8.plan import layers, watched_tensors
from converter.int8.ranges import collect_ranges
from converter.int8.targets import TENSORRT
from converter.model.finish import finish
from converter.model.graph import load_onnx
from converter.model.labels import read_labels
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from converter.search import Recipe
from sightd.manifest import Profile
from tests.parts.blobs import LABELS, blob_detector, blob_picture
from tests.parts.tensorrt_rtx import convolution_inputs
from tests.shapes.detector import MODEL
from tests.shapes.drawing import LABELS as SHAPES
from tests.shapes.scene import picture

pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX: pip install -r tests/requirements.txt")

REAL = {
    "yolox_nano": "yolox_nano/yolox_nano.onnx",
    "fastestdet": "fastestdet/FastestDet.onnx",
    "centernet": "centernet_mbv3/centernet_mbv3_512.onnx",
}
_OPTIONS = TensorRtOptions(module="tensorrt_rtx_bindings", compute_capability="8.6")
_PROFILE = Profile(min=1, opt=4, max=8)


def int8_graph(model: onnx.ModelProto, labels: List[str], pictures: List[np.ndarray]) -> Tuple[onnx.ModelProto, int]:
    """The Q/DQ graph for TensorRT, and how many of its layers are INT8."""
    finished = finish(model, labels=labels)
    simplified, spec = simplify(finished.model), finished.spec
    head = head_nodes(simplified)
    inputs = [cv2.resize(picture, (spec.width, spec.height))[None] for picture in pictures]
    ranges = collect_ranges(simplified, watched_tensors(simplified, head), inputs)
    return emit(simplified, ranges, Recipe("mse", "conv", 0), TENSORRT, head), len(layers(simplified, head))


def order(graph: onnx.ModelProto, folder: Path) -> Order:
    onnx.save(graph, str(folder / "graph.onnx"))
    return Order(
        _OPTIONS,
        onnx=str(folder / "graph.onnx"),
        plan=str(folder / "engine.plan"),
        precision="int8",
        profile=_PROFILE,
        typed=True,
        timing_cache=str(folder / "timing.cache"),
    )


def built(graph: onnx.ModelProto, folder: Path) -> List[Message]:
    heard: List[Message] = []
    run_worker(order(graph, folder), folder, iter(()), heard.append)
    return heard


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Tuple[onnx.ModelProto, int]:
    model = onnx.load(str(blob_detector(tmp_path_factory.mktemp("blobs") / "blobs.onnx")))
    return int8_graph(model, LABELS, [blob_picture(seed) for seed in range(8)])


def test_the_worker_builds_a_plan_and_tells_what_its_layers_compute_in(
    blobs: Tuple[onnx.ModelProto, int], tmp_path: Path
) -> None:
    graph, in_int8 = blobs
    heard = built(graph, tmp_path)
    finished = heard[-1]
    assert isinstance(finished, Finished)
    assert (tmp_path / "engine.plan").stat().st_size > 1000
    assert finished.layers["int8"] == in_int8
    assert finished.layers["fp32"] >= 2  # the prediction layers
    assert finished.peak_rss_mb > 50


def test_the_worker_says_which_tensorrt_it_is(blobs: Tuple[onnx.ModelProto, int], tmp_path: Path) -> None:
    (facts,) = [message for message in built(blobs[0], tmp_path) if isinstance(message, Facts)]
    assert facts.version >= (1, 7)
    assert not facts.calibrates


def test_progress_rises_to_the_end(blobs: Tuple[onnx.ModelProto, int], tmp_path: Path) -> None:
    fractions = [message.fraction for message in built(blobs[0], tmp_path) if isinstance(message, Step)]
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1


def test_a_graph_that_the_parser_refuses_is_told_with_its_node(tmp_path: Path) -> None:
    pixels = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 8, 8, 3])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.UINT8, ["N", 3, 8, 8])
    node = onnx.helper.make_node("Transpose", ["images"], ["out"], "wrong", perm=[0, 3, 1, 2])
    opset = [onnx.helper.make_opsetid("", 17)]
    graph = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [pixels], [out]), opset_imports=opset)
    with pytest.raises(WorkerFailure) as failure:
        built(graph, tmp_path)
    failed = failure.value.failed
    assert failed.kind in ("graph", "build"), failed
    assert failed.problems or failed.log


def test_an_interrupted_build_leaves_no_plan_and_no_process(blobs: Tuple[onnx.ModelProto, int], tmp_path: Path) -> None:
    def interrupt(message: Message) -> None:
        if isinstance(message, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker(order(blobs[0], tmp_path), tmp_path, iter(()), interrupt)
    assert not (tmp_path / "engine.plan").exists()
    assert not workers()


def test_a_machine_that_runs_out_of_memory_stops_the_build(blobs: Tuple[onnx.ModelProto, int], tmp_path: Path) -> None:
    with pytest.raises(WorkerFailure, match="memory") as failure:
        run_worker(order(blobs[0], tmp_path), tmp_path, iter(()), lambda message: None, available=lambda: 100)
    assert failure.value.failed.kind == "memory"
    assert not (tmp_path / "engine.plan").exists()
    assert not workers()


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_detectors_build_in_int8(assets: Path, name: str, tmp_path: Path) -> None:
    files = sorted((assets / "images" / "calib_coco_train80").glob("*.jpg"))[:8]
    pictures = [np.asarray(cv2.imread(str(file)), np.uint8) for file in files]
    graph, in_int8 = int8_graph(load_onnx(assets / "models" / REAL[name]), read_labels("coco80"), pictures)
    heard = built(graph, tmp_path)
    finished = heard[-1]
    assert isinstance(finished, Finished)
    assert finished.layers["int8"] >= 0.95 * in_int8
    assert len([message for message in heard if isinstance(message, Step)]) > 3


def test_of_a_distribution_head_all_but_predictions_and_means_is_int8(tmp_path: Path) -> None:
    graph, in_int8 = int8_graph(load_onnx(MODEL), list(SHAPES), [picture(seed)[0] for seed in range(8)])
    finished = built(graph, tmp_path)[-1]
    assert isinstance(finished, Finished)
    inputs = convolution_inputs(graph)
    predictions = [name for name, kind in inputs.items() if kind == "Float"]
    assert [name.split("/")[1] for name in predictions] == ["heads.0", "heads.1", "heads.2", "expected"]
    assert len(inputs) - len(predictions) == in_int8 <= finished.layers["int8"]


def workers() -> List[str]:
    """Workers that still run on this test's behalf."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = entry.with_name("stat").read_text("ascii", "replace").rpartition(")")[2].split()[1]
        except OSError:
            continue  # it has ended meanwhile
        if "converter.builders.tensorrt_worker" in command and parent == str(os.getpid()):
            found.append(command)
    return found
