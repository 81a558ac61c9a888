"""INT8 graphs of a tiny real detector, run in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Set

import numpy as np
import onnx
import pytest

from converter.finish import FinishedModel, finish
from converter.graph import load_onnx
from converter.int8_plan import layers, plan_int8, watched_tensors
from converter.quantize import quantize
from converter.ranges import Ranges, collect_ranges
from converter.sensitivity import damage, rank_layers
from converter.session import Session
from converter.tail import head_nodes
from converter.targets import AARCH64, X86_VNNI, Target
from sightd.errors import CalibrationError
from sightd.types import Detections
from tests.parts.blobs import LABELS, blob_detector, blob_picture

PICTURES = [blob_picture(seed)[None] for seed in range(12)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedModel:
    return finish(load_onnx(blob_detector(tmp_path_factory.mktemp("model") / "blobs.onnx")), labels=LABELS)


@pytest.fixture(scope="module")
def head(finished: FinishedModel) -> Set[str]:
    return head_nodes(finished.model)


@pytest.fixture(scope="module")
def ranges(finished: FinishedModel, head: Set[str]) -> Ranges:
    return collect_ranges(finished.model, watched_tensors(finished.model, head), iter(PICTURES))


def int8(finished: FinishedModel, ranges: Ranges, float_nodes: Set[str], **changes: Any) -> onnx.ModelProto:
    options = {"algorithm": "minmax", "scope": "all", "target": X86_VNNI, **changes}
    return quantize(finished.model, ranges, float_nodes=float_nodes, **options)


def operators(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """What ONNX Runtime makes of *model*."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_every_layer_but_the_head_becomes_an_integer_kernel(
    finished: FinishedModel, ranges: Ranges, head: Set[str], tmp_path: Path
) -> None:
    model = int8(finished, ranges, head)
    onnx.checker.check_model(model)
    found = operators(model, tmp_path)
    assert found["QLinearConv"] == len(layers(finished.model, head)) == 5


@pytest.mark.parametrize("target", [X86_VNNI, AARCH64, Target("s8", symmetric=True, quantize_bias=False)])
@pytest.mark.parametrize("scope", ["all", "conv"])
def test_the_int8_model_finds_what_the_float_model_finds(
    finished: FinishedModel, ranges: Ranges, head: Set[str], target: Target, scope: str
) -> None:
    floats, quantized = Session(finished.model), Session(int8(finished, ranges, head, target=target, scope=scope))
    for pixels in PICTURES[:4]:
        (boxes, scores, classes), (other_boxes, other_scores, other_classes) = floats.run(pixels), quantized.run(pixels)
        real = scores[0] > 0.4
        assert np.abs(np.sort(scores[0][real]) - np.sort(other_scores[0][: real.sum()])).max() < 0.1
        assert sorted(classes[0][real]) == sorted(other_classes[0][: real.sum()])
        assert boxes.shape == other_boxes.shape


def test_a_layer_that_is_to_stay_float_keeps_its_float_weights(
    finished: FinishedModel, ranges: Ranges, head: Set[str]
) -> None:
    kept = layers(finished.model, head)[2]
    model = int8(finished, ranges, head | {kept})
    node = next(node for node in model.graph.node if node.name == kept)
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert weights[node.input[1]] == onnx.TensorProto.FLOAT
    assert len([n for n in model.graph.node if n.op_type == "Conv" and n.input[1] not in weights]) == 4


def test_with_everything_float_the_model_is_what_it_was(
    finished: FinishedModel, ranges: Ranges, head: Set[str]
) -> None:
    everything = head | {node.name for node in finished.model.graph.node}
    model = int8(finished, ranges, everything)
    assert not [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert np.array_equal(Session(model).run(PICTURES[0])[1], Session(finished.model).run(PICTURES[0])[1])


def test_a_range_that_was_never_measured_is_an_error(finished: FinishedModel, head: Set[str]) -> None:
    with pytest.raises(CalibrationError, match="calibrate this very model"):
        int8(finished, Ranges({}, 1), head)


def test_the_model_itself_is_left_alone(finished: FinishedModel, ranges: Ranges, head: Set[str]) -> None:
    before = finished.model.SerializeToString(deterministic=True)
    int8(finished, ranges, head)
    assert finished.model.SerializeToString(deterministic=True) == before


def test_scope_conv_leaves_what_is_between_the_layers_in_float(finished: FinishedModel, head: Set[str]) -> None:
    int8_nodes = plan_int8(finished.model, head, "conv").int8
    assert {node.op_type for node in finished.model.graph.node if node.name in int8_nodes} == {"Conv", "Relu"}


def test_the_layer_that_int8_ruins_is_ranked_first(finished: FinishedModel, ranges: Ranges, head: Set[str]) -> None:
    """One layer's input range is spoilt, so that INT8 there, and only there, destroys the detections."""
    names = layers(finished.model, head)
    spoilt = Ranges(dict(ranges.histograms), ranges.frames)
    entry = next(node.input[0] for node in finished.model.graph.node if node.name == names[3])
    wide = type(ranges.histograms[entry])()
    wide.add(np.array([-1e4, 1e4], np.float32))
    spoilt.histograms[entry] = wide  # type: ignore[index]
    ranked = rank_layers(
        finished.model, spoilt, names, head, PICTURES[:3], algorithm="minmax", target=X86_VNNI, on_layer=lambda: None
    )
    assert len(ranked) == len(names)
    # The spoilt tensor is also the result of the layer before; both suffer, the other three don't.
    assert {one.layer for one in ranked[:2]} == {names[2], names[3]}
    assert ranked[1].value > 3 * ranked[2].value


def test_damage_is_0_for_the_same_and_1_for_nothing() -> None:
    found = Detections(np.array([[0, 0, 10, 10]], np.float32), np.array([0.8], np.float32), np.array([1], np.int32))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    moved = Detections(found.boxes + 5, found.scores, found.classes)
    fainter = Detections(found.boxes, found.scores / 2, found.classes)
    other = Detections(found.boxes, found.scores, found.classes + 1)
    assert damage([found], [found]) == 0
    assert damage([found], [nothing]) == 1
    assert damage([nothing], [nothing]) == 0
    assert damage([found], [other]) == 1
    assert 0 < damage([found], [fainter]) < 1
    assert 0 < damage([found], [moved]) < 1
