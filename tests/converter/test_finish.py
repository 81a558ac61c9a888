"""The finished graph: the contract of DESIGN for every layout, and the detections of the reference."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Mapping, Optional

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from converter.agreement.reference import Reference
from converter.model.finish import FinishedModel, finish, head_nodes
from converter.model.graph import describe, load_onnx
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.models import (
    HEIGHT,
    VARIANTS,
    WIDTH,
    Batch,
    Net,
    boxes_scores,
    centernet_distances,
    make_variant,
    yolox,
)
from tests.parts.yolo_models import yolov8

LABELS = ["a", "b", "c"]


def finished(model: onnx.ModelProto, **arguments: Any) -> FinishedModel:
    return finish(model, **{"labels": LABELS, **arguments})


def pictures(count: int) -> NDArray[np.uint8]:
    """Distinct pictures of the input's size, blocks of colour."""
    coarse = np.random.default_rng(3).integers(0, 256, (count, 4, 6, 3), np.uint8)
    return coarse.repeat(HEIGHT // 4, axis=1).repeat(WIDTH // 6, axis=2)


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_outputs_and_names_are_the_contract(variant: str, batch: Batch) -> None:
    done = finished(make_variant(variant, batch))
    graph, count = done.model.graph, done.candidates
    dims = [
        (value.name, value.type.tensor_type.elem_type, [dim.dim_param or dim.dim_value for dim in _dims(value)])
        for value in (*graph.input, *graph.output)
    ]
    assert dims == [
        ("images", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3]),
        ("boxes", TensorProto.FLOAT, ["N", count, 4]),
        ("scores", TensorProto.FLOAT, ["N", count]),
        ("classes", TensorProto.INT32, ["N", count]),
    ]
    assert done.max_batch > 1
    assert (graph.node[0].op_type, list(graph.node[0].input)) == ("Cast", ["images"])
    assert done.model.ir_version == 8
    assert 13 <= done.model.opset_import[0].version <= 17
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    given = {node.name for node in make_variant(variant, batch).graph.node}
    assert all(name in given or name.startswith("sightd/") for name in names)
    assert given <= set(names)


@pytest.mark.parametrize(
    "overrides",
    [
        None,
        {"channel_order": "bgr", "scale": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1)},
        {"channel_order": "rgb", "scale": 0.5, "mean": (10, 20, 30), "std": (0.5, 1.5, 2)},
        {"resize": "letterbox-centre", "pad_value": 7},
    ],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_gives_what_the_reference_gives_picture_by_picture(
    variant: str, overrides: Optional[Mapping[str, object]]
) -> None:
    model = make_variant(variant)
    done = finished(model, spec_overrides=overrides)
    images = pictures(3)
    boxes, scores, classes = Session(done.model).run(images)
    reference = Reference(model, done.spec, done.head)
    assert np.all(np.diff(scores) <= 0)
    for index, image in enumerate(images):
        truth, _ = reference.candidates(image)
        # Anchors that score the same may come in any order: peaks lost to a neighbour all score 0.
        clear = truth.scores[0] > 0
        np.testing.assert_allclose(scores[index], truth.scores[0], atol=1e-5)
        np.testing.assert_allclose(boxes[index][clear], truth.boxes[0][clear], rtol=1e-4, atol=1e-3)
        assert np.array_equal(classes[index][clear], truth.classes[0][clear])
    assert not np.allclose(scores[0], scores[1])


@pytest.mark.parametrize(
    "options",
    [{"box_format": "cxcywh"}, {"box_unit": "fraction"}, {"box_format": "cxcywh", "box_unit": "fraction"}],
)
def test_head_options_reach_graph_and_reference_alike(options: Mapping[str, str]) -> None:
    model = boxes_scores()
    done = finished(model, head="boxes-scores", head_options=options)
    image = pictures(1)
    truth, _ = Reference(model, done.spec, done.head).candidates(image[0])
    boxes, _, _ = Session(done.model).run(image)
    np.testing.assert_allclose(boxes, truth.boxes, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("asked", "kept"), [(300, 300), (50, 50), (9999, 504)])
def test_no_more_candidates_than_anchors_are_kept(asked: int, kept: int) -> None:
    done = finished(yolox(), candidates=asked)
    assert done.candidates == kept
    assert Session(done.model).run(pictures(1))[0].shape == (1, kept, 4)


def test_preprocessing_that_changes_nothing_is_left_out() -> None:
    same = finished(centernet_distances(), spec_overrides={"channel_order": "bgr"})
    assert [node.op_type for node in same.model.graph.node if node.name.startswith("sightd/input")] == ["Cast"]
    most = finished(yolox(), spec_overrides={"channel_order": "rgb", "scale": 0.5, "mean": (1, 2, 3)})
    added = [node.op_type for node in most.model.graph.node if node.name.startswith("sightd/input")]
    assert added == ["Cast", "Transpose", "Gather", "Mul", "Add"]


def test_no_weight_is_left_that_nothing_reads() -> None:
    graph = finished(yolox()).model.graph
    read = {tensor for node in graph.node for tensor in node.input}
    assert {weight.name for weight in graph.initializer} <= read


def test_the_given_model_stays_as_it_was() -> None:
    model = yolox()
    before = model.SerializeToString(deterministic=True)
    finished(model)
    assert model.SerializeToString(deterministic=True) == before


def test_finishing_twice_gives_the_same_bytes() -> None:
    first, second = (finished(yolox()).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_a_batch_that_leaks_between_pictures_is_run_singly_and_said_loudly(caplog: pytest.LogCaptureFixture) -> None:
    net = Net("N")
    features = net.backbone("input")
    mixed = net.add("Sub", features, net.add("ReduceMean", features, axes=[0], keepdims=1))
    heat, sides = net.add("Sigmoid", net.conv(mixed, 8, 3)), net.conv(mixed, 8, 4)
    with caplog.at_level(logging.WARNING, "converter.model.finish"):
        done = finished(net.model([heat, sides]))
    assert done.max_batch == 1
    assert describe(done.model.graph.input[0]).shape == (1, HEIGHT, WIDTH, 3)
    assert "every picture is inferred alone" in done.notes[-1]
    assert done.notes[-1] in caplog.text
    Session(done.model).run(pictures(1))


def test_a_fixed_batch_of_many_that_leaks_is_refused() -> None:
    net = Net(2)
    features = net.backbone("input")
    mixed = net.add("Concat", *[net.add("Slice", features, *_range(net, i)) for i in (0, 0)], axis=0)
    heat, sides = net.add("Sigmoid", net.conv(mixed, 8, 3)), net.conv(mixed, 8, 4)
    with pytest.raises(ModelError, match="dynamic batch"):
        finished(net.model([heat, sides]))


def test_assumptions_are_noted() -> None:
    assert any("xyxy" in note for note in finished(boxes_scores()).notes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["a", "b"], "2 class names for a model of 3 classes"), (None, "no class names inside"), ([], "0 class names")],
)
def test_labels_must_be_as_many_as_classes(labels: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        finished(yolox(), labels=labels)


def test_labels_come_from_the_metadata() -> None:
    model = yolox(metadata={"names": "{0: 'dog', 1: 'cat', 2: 'ant'}"})
    assert finished(model, labels=None).labels == ["dog", "cat", "ant"]


def test_a_model_of_80_classes_is_pointed_to_coco() -> None:
    with pytest.raises(ModelError, match="--labels coco80"):
        finished(yolox(classes=80), labels=None)


def test_a_finished_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="finished by sightd already"):
        finished(finished(yolox()).model)


def test_a_model_with_two_inputs_is_refused() -> None:
    model = yolox()
    model.graph.input.append(onnx.helper.make_tensor_value_info("shape", TensorProto.FLOAT, [1, 2]))
    with pytest.raises(ModelError, match=r"has 2 \(images, shape\)"):
        finished(model)


def test_an_open_size_must_be_given() -> None:
    model = centernet_distances("N")
    for axis, name in ((1, "h"), (2, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    with pytest.raises(ModelError, match="--size"):
        finished(model)
    done = finished(model, spec_overrides={"width": 64, "height": 96})
    assert describe(done.model.graph.input[0]).shape == (None, 96, 64, 3)
    assert done.candidates == 96  # 8 x 12 cells
    assert Session(done.model).run(np.zeros((2, 96, 64, 3), np.uint8))[0].shape == (2, 96, 4)


def test_prediction_layers_and_what_is_behind_stay_float() -> None:
    net = Net(1)
    features = net.backbone("input")
    deep = net.add("Relu", net.conv(features, 8, 8))
    heat, sides = net.conv(deep, 8, 3), net.conv(deep, 8, 4)
    done = finished(net.model([net.add("Sigmoid", heat), sides]))
    kept = {node.op_type for node in done.model.graph.node if node.name in head_nodes(done.model)}
    given = [node.name for node in net.nodes]
    assert [name for name in given if name in head_nodes(done.model)] == ["Conv_5", "Conv_6", "Sigmoid_7"]
    assert {"Cast", "TopK", "GatherElements"} <= kept
    assert {node.name for node in done.model.graph.node if node.name.startswith("sightd/")} <= head_nodes(done.model)


def test_a_distributions_convolution_is_not_the_prediction_layer() -> None:
    model = yolov8()
    kept = [node for node in model.graph.node if node.name in head_nodes(model) and node.op_type == "Conv"]
    channels = sorted(onnx.numpy_helper.to_array(weight).shape[0] for weight in _weights(model, kept))
    assert channels == [1, 3, 3, 3, 64, 64, 64]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "ap"),
    [
        ("yolox_nano/yolox_nano.onnx", 0.290),
        ("centernet_mbv3/centernet_mbv3_512.onnx", 0.286),
        ("fastestdet/FastestDet.onnx", 0.162),
    ],
)
def test_real_models_reach_their_accuracy(assets: Path, file: str, ap: float) -> None:
    pytest.importorskip("pycocotools")
    from bench.coco import evaluate
    from converter.model.labels import COCO80
    from sightd.nms import detections
    from sightd.resize import resize_into
    from sightd.types import Candidates

    done = finish(load_onnx(assets / "models" / file), labels=COCO80)
    session = Session(done.model)

    def detect(images: Any) -> Any:
        buffer = np.empty((len(images), done.spec.height, done.spec.width, 3), np.uint8)
        places = [resize_into(buffer[i], image, done.spec) for i, image in enumerate(images)]
        return detections(Candidates(*session.run(buffer)), places, min_score=0.001, iou=0.45)

    folder = assets / "images" / "coco_val_dev100"
    assert evaluate(detect, folder / "images", folder / "instances.json", batch=4) == pytest.approx(ap, abs=0.003)


@pytest.mark.slow
def test_fastestdets_reference_figure_is_that_of_class_blind_nms(assets: Path) -> None:
    pytest.importorskip("pycocotools")
    from bench.fastestdet import average_precision

    assert average_precision("linear", class_wise=False) == pytest.approx(0.152, abs=0.003)
    assert average_precision("linear", class_wise=True) == pytest.approx(0.162, abs=0.003)


def _dims(value: onnx.ValueInfoProto) -> Any:
    return value.type.tensor_type.shape.dim


def _range(net: Net, start: int) -> Any:
    return net.constant([start]), net.constant([start + 1]), net.constant([0])


def _weights(model: onnx.ModelProto, nodes: Any) -> Any:
    wanted = {node.input[1] for node in nodes}
    return [weight for weight in model.graph.initializer if weight.name in wanted]
