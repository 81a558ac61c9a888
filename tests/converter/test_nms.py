"""NMS in a graph: cut off where all anchors feed it, else refused with what to do (the cuts: test_head_families)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from converter.model.graph import load_onnx
from converter.model.nms import without_nms
from sightd.errors import ModelError
from tests.parts.families import make_family_model, rows
from tests.parts.models import Net, yolox


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def nms(net: Net, boxes: str, scores: str, output: str) -> str:
    limits = net.constant([100]), net.constant(np.array(0.5, np.float32)), net.constant(np.array(0.2, np.float32))
    return net.add("NonMaxSuppression", boxes, scores, *limits, output=output)


def boxes_and_scores(net: Net) -> Sequence[str]:
    features = net.backbone("input")
    boxes = rows(net, net.conv(features, 8, 4), 4)
    return boxes, net.add("Transpose", rows(net, net.add("Sigmoid", net.conv(features, 8, 1)), 1), perm=[0, 2, 1])


def filtered() -> onnx.ModelProto:
    """As torchvision's detectors: boxes above a score are picked, how many depends on the picture."""
    net = Net(1)
    boxes, scores = boxes_and_scores(net)
    flat = net.add("Reshape", scores, net.constant([-1]))
    high = net.add("NonZero", net.add("Greater", flat, net.constant(np.array(0.05, np.float32))))
    place = net.add("Reshape", high, net.constant([-1]))
    picked = net.add("Gather", boxes, place, axis=1), net.add("Gather", scores, place, axis=2)
    return net.model([nms(net, *picked, "int_kept")])


def one_a_picture() -> onnx.ModelProto:
    net = Net(1)
    boxes, scores = boxes_and_scores(net)
    return net.model([nms(net, boxes, scores, f"int_kept{index}") for index in range(2)])


def in_a_body() -> onnx.ModelProto:
    net = Net(1)
    nms(net, *boxes_and_scores(net), "int_kept")
    kept = helper.make_tensor_value_info("int_kept", TensorProto.INT64, ["n", 3])
    body = helper.make_graph([net.nodes.pop()], "body", [], [kept])
    condition = net.constant(np.array(True))
    return net.model([net.add("If", condition, then_branch=body, else_branch=body, output="int_found")])


@pytest.mark.parametrize("make", [filtered, one_a_picture, in_a_body])
def test_nms_that_does_not_see_all_anchors_is_refused_with_what_to_do(make: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"node 'NonMaxSuppression_\d+' is .* without it, sightd does it itself: nms=False"
    ):
        load_onnx(saved(make(), tmp_path))


@pytest.mark.parametrize("attributes", [{"background_class": 0}, {"anchors": True}])
def test_a_plugin_in_a_form_that_is_not_read_is_a_foreign_operator(attributes: Any, tmp_path: Path) -> None:
    model = make_family_model("nms-efficient")
    (node,) = [node for node in model.graph.node if node.op_type == "EfficientNMS_TRT"]
    if "anchors" in attributes:
        node.input.append(node.input[0])
    else:
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("background_class", 0))
    with pytest.raises(ModelError, match="uses the operator TRT::EfficientNMS_TRT"):
        load_onnx(saved(model, tmp_path))


def test_a_plugin_under_onnxs_own_domain_is_taken_off_too(tmp_path: Path) -> None:
    """As graphsurgeon writes it; ONNX's checker would refuse the name."""
    model = make_family_model("nms-efficient")
    next(node for node in model.graph.node if node.op_type == "EfficientNMS_TRT").domain = ""
    assert names(load_onnx(saved(model, tmp_path))) == ["nms/boxes-cxcywh", "nms/logits"]


def test_what_fed_nothing_but_nms_is_gone() -> None:
    model = without_nms(make_family_model("nms-offsets"))
    assert names(model) == ["nms/boxes-xyxy", "nms/class-scores", "nms/classes"]
    assert not {"NonMaxSuppression", "Gather"} & {node.op_type for node in model.graph.node}


def test_tensorflows_raw_outputs_are_all_that_is_kept() -> None:
    model = without_nms(make_family_model("tf-raw"))
    assert names(model) == ["raw_detection_boxes", "raw_detection_scores"]
    assert "NonMaxSuppression" not in {node.op_type for node in model.graph.node}


def test_cutting_twice_is_cutting_once() -> None:
    once = without_nms(make_family_model("nms"))
    assert without_nms(once) is once


def test_a_model_without_nms_stays_itself() -> None:
    model = yolox()
    assert without_nms(model) is model


def test_a_body_that_reads_from_outside_keeps_what_it_reads() -> None:
    """The branches of an If take the features from around it."""
    net = Net(1)
    boxes, scores = boxes_and_scores(net)
    branch = helper.make_graph(
        [helper.make_node("Identity", [boxes], ["inside"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )
    condition = net.constant(np.array(True))
    net.nodes.append(
        helper.make_node("If", [condition], ["raw_detection_boxes"], "if", then_branch=branch, else_branch=branch)
    )
    net.add("Identity", net.add("Transpose", scores, perm=[0, 2, 1]), output="raw_detection_scores")
    kept = without_nms(net.model(["raw_detection_boxes", "raw_detection_scores"]))
    onnx.checker.check_model(kept)
    assert boxes in {tensor for node in kept.graph.node for tensor in node.output}


def names(model: onnx.ModelProto) -> List[str]:
    return [value.name for value in model.graph.output]
