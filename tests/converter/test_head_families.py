"""Heads that are no YOLO: recognised by themselves, batch by batch the same, decoded as the published formula says.

The formulas are written here again, in plain loops over the unfinished model's outputs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from converter.agreement.reference import Reference, normalised
from converter.int8.plan import layers
from converter.model.finish import FinishedModel, finish, head_nodes
from converter.model.graph import load_onnx
from converter.model.nms import without_nms
from converter.model.session import Session
from sightd.errors import ModelError
from sightd.nms import detections
from sightd.types import Candidates, Placement
from tests.parts import families
from tests.parts.families import FAMILY_MODELS, SSD_GRIDS, make_family_model, with_nms
from tests.parts.models import Net
from tests.parts.tensorrt_rtx import convolution_inputs

LABELS = ["a", "b", "c"]
Outputs = Mapping[str, NDArray[Any]]


class Found(NamedTuple):
    """An anchor: its best class."""

    score: float
    class_id: int
    box: List[float]


EXPECTED = {
    "detr": ("detr", "detr", 1.0),
    "detr-hf": ("detr", "detr", 1.0),
    "detr-unnamed": ("detr", "detr", 1.0),
    "detr-refined": ("detr", "detr", 1.0),
    "detr-rf": ("detr", "detr-imagenet", 1.0),
    "detr-joined": ("detr", "detr", 1.0),
    "detr-joined-chosen": ("detr", "detr", 1.0),
    "detr-rows": ("end-to-end", "detr", 1.0),
    "detr-deployed": ("detr-postprocessed", "detr-postprocessed", 1.0),
    "nanodet": ("nanodet", "nanodet", 0.45),
    "nanodet-plus": ("nanodet", "nanodet", 0.45),
    "nanodet-g": ("nanodet", "nanodet", 0.45),
    "nanodet-rows": ("nanodet", "nanodet", 0.45),
    "nanodet-planes": ("nanodet", "nanodet", 0.45),
    "ssd-tensorflow": ("ssd", "ssd", 0.45),
    "ssd-lite": ("ssd", "ssd", 0.45),
    "ssd300": ("ssd", "ssd-vgg", 0.45),
    "ssd-pytorch": ("ssd", "ssd-pytorch", 0.45),
    "tf-raw": ("tf-detections", "tf-detections", 0.45),
    "tf-final": ("tf-detections", "tf-detections", 1.0),
    **{name: ("nms", "nms", 0.45) for name in FAMILY_MODELS if name.startswith("nms")},
}


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., onnx.ModelProto]:
    """The model of a family, read from a file as the converter does it."""

    def read(name: str, batch: Any = 1) -> onnx.ModelProto:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(make_family_model(name, batch).SerializeToString())
        return load_onnx(path)

    return read


def pictures(done: FinishedModel, count: int) -> NDArray[np.uint8]:
    """Distinct pictures of the input's size, blocks of colour."""
    height, width = done.spec.height, done.spec.width
    coarse = np.random.default_rng(3).integers(0, 256, (count, 4, 6, 3), np.uint8)
    blocks: NDArray[np.uint8] = coarse[:, np.arange(height) * 4 // height][:, :, np.arange(width) * 6 // width]
    return blocks


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_every_layout_is_recognised_as_one_family_and_takes_any_batch(given: Any, name: str, batch: Any) -> None:
    done = finish(given(name, batch), labels=LABELS)
    family, preset, nms_iou = EXPECTED[name]
    assert (done.head.family, done.head.preset, done.head.nms_iou) == (family, preset, nms_iou)
    assert done.max_batch > 1
    images = pictures(done, 4)
    together, alone = Session(done.model).run(images), [Session(done.model).run(image[None]) for image in images]
    for index, single in enumerate(alone):
        for one, four in zip(single, together):
            np.testing.assert_allclose(four[index], one[0], rtol=1e-4, atol=1e-3)
    assert not np.allclose(together[1][0], together[1][1])


# The families' formulas, one picture's outputs by name -> its anchors.


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: Sequence[float]) -> List[float]:
    raised = [math.exp(value - max(values)) for value in values]
    return [value / sum(raised) for value in raised]


def best(scores: Sequence[float], box: Sequence[float]) -> Found:
    class_id = max(range(len(scores)), key=lambda index: scores[index])
    return Found(scores[class_id], class_id, list(box))


def detr(outputs: Outputs, width: int, height: int) -> List[Found]:
    """https://github.com/lyuwenyu/RT-DETR, rtdetr_postprocessor.py: sigmoid, cxcywh times the size."""
    named = {"pred_boxes": "boxes", "pred_logits": "logits", "output0": "logits", "output1": "boxes"}
    by_role = {named.get(name, name): output for name, output in outputs.items()}
    found = []
    for logits, (cx, cy, w, h) in zip(by_role["logits"].tolist(), by_role["boxes"].tolist()):
        box = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
        found.append(best([sigmoid(logit) for logit in logits], box))
    return found


def rf_detr(outputs: Outputs, width: int, height: int) -> List[Found]:
    """https://github.com/roboflow/rf-detr, export/_onnx/inference.py: sigmoid, the last score left out."""
    return detr({"boxes": outputs["dets"], "logits": outputs["labels"][:, :-1]}, width, height)


def detr_softmax(outputs: Outputs, width: int, height: int) -> List[Found]:
    """https://github.com/facebookresearch/detr, PostProcess: softmax, the last class left out."""
    found = []
    for one, logits in zip(detr(outputs, width, height), outputs["pred_logits"].tolist()):
        found.append(best(softmax(logits)[:-1], one.box))
    return found


def detr_rows(outputs: Outputs, width: int, height: int) -> List[Found]:
    """Ultralytics' RT-DETR with its own selection: cxcywh as fractions, score, class."""
    found = []
    for cx, cy, w, h, score, label in outputs["output0"].tolist():
        box = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
        found.append(Found(score, int(label), box))
    return found


def detr_joined(outputs: Outputs, width: int, height: int) -> List[Found]:
    """Ultralytics' RT-DETR: cxcywh as fractions, then scores."""
    found = []
    for cx, cy, w, h, *scores in outputs["output0"].tolist():
        box = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
        found.append(best(scores, box))
    return found


def nanodet(outputs: Outputs, width: int, height: int) -> List[Found]:
    """https://github.com/RangiLyu/nanodet: nanodet_head.py (cells' centres), nanodet_plus_head.py (cells' corners)."""
    plus = len(outputs) == 1 and len(outputs["output"]) == 510
    found = []
    first = 0
    for stride in (8, 16, 32, 64) if plus else (8, 16, 32):
        columns = math.ceil(width / stride)
        cells = columns * math.ceil(height / stride)
        if len(outputs) == 1:
            scores, sides = outputs["output"][first : first + cells, :3], outputs["output"][first : first + cells, 3:]
        else:
            scores, sides = (outputs[f"{kind}_pred_stride_{stride}"] for kind in ("cls", "dis"))
        if scores.ndim == 3:
            scores, sides = (plane.reshape(plane.shape[0], -1).T for plane in (scores, sides))
        for cell in range(cells):
            x, y = ((place + (0 if plus else 0.5)) * stride for place in (cell % columns, cell // columns))
            reach = []
            for side in range(4):
                shares = softmax(sides[cell].reshape(4, -1)[side].tolist())
                reach.append(sum(share * place for place, share in enumerate(shares)) * stride)
            box = [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]
            limits = (width, height, width, height)
            found.append(
                best(scores[cell].tolist(), [min(max(v, 0), limit) for v, limit in zip(box, limits)]),
            )
        first += cells
    return found


def ssd_tensorflow(outputs: Outputs, width: int, height: int) -> List[Found]:
    """faster_rcnn_box_coder.py (scales 10, 10, 5, 5) and create_ssd_anchors (.2 to .95) of the detection API."""
    short = min(width, height)
    anchors = []
    for layer, (columns, rows) in enumerate(SSD_GRIDS):
        scale = 0.2 + (0.95 - 0.2) * layer / 5
        following = 0.2 + (0.95 - 0.2) * (layer + 1) / 5 if layer < 5 else 1.0
        specs = [(scale, 1.0), (scale, 2.0), (scale, 0.5), (scale, 3.0), (scale, 0.3333)]
        specs.append((math.sqrt(scale * following), 1.0))
        for y in range(rows):
            for x in range(columns):
                for size, ratio in [(0.1, 1.0), (scale, 2.0), (scale, 0.5)] if layer == 0 else specs:
                    h, w = size / math.sqrt(ratio) * short, size * math.sqrt(ratio) * short
                    anchors.append(((y + 0.5) / rows * height, (x + 0.5) / columns * width, h, w))
    found = []
    encoded, logits = outputs["box_encodings"].tolist(), outputs["class_predictions"].tolist()
    assert len(encoded) == len(anchors)
    for (ty, tx, th, tw), scores, (y, x, h, w) in zip(encoded, logits, anchors):
        cy, cx, hh, ww = ty / 10 * h + y, tx / 10 * w + x, math.exp(th / 5) * h, math.exp(tw / 5) * w
        box = [cx - ww / 2, cy - hh / 2, cx + ww / 2, cy + hh / 2]
        found.append(best([sigmoid(score) for score in scores[1:]], box))
    return found


def torchvision_boxes(
    outputs: Outputs, width: int, height: int, centres: Sequence[Any], shapes: Sequence[Any]
) -> List[Found]:
    """BoxCoder of torchvision/models/detection/_utils.py with weights 10, 10, 5, 5; anchors by layer, cell, shape."""
    anchors = [(cx, cy, w, h) for layer, cells in enumerate(centres) for cx, cy in cells for w, h in shapes[layer]]
    found = []
    encoded, logits = outputs["bbox_regression"].tolist(), outputs["cls_logits"].tolist()
    assert len(encoded) == len(anchors)
    for (dx, dy, dw, dh), scores, (cx, cy, w, h) in zip(encoded, logits, anchors):
        wide, high = min(w, 1) * width, min(h, 1) * height
        x, y = dx / 10 * wide + cx * width, dy / 10 * high + cy * height
        ww, hh = math.exp(dw / 5) * wide, math.exp(dh / 5) * high
        found.append(best(softmax(scores)[1:], [x - ww / 2, y - hh / 2, x + ww / 2, y + hh / 2]))
    return found


def default_shapes(scales: Sequence[float], ratios: Sequence[Sequence[int]]) -> List[List[List[float]]]:
    """_generate_wh_pairs of torchvision/models/detection/anchor_utils.py."""
    shapes = []
    for layer, of_layer in enumerate(ratios):
        size, between = scales[layer], math.sqrt(scales[layer] * scales[layer + 1])
        pairs = [[size, size], [between, between]]
        for ratio in of_layer:
            w, h = size * math.sqrt(ratio), size / math.sqrt(ratio)
            pairs += [[w, h], [h, w]]
        shapes.append(pairs)
    return shapes


def ssd_lite(outputs: Outputs, width: int, height: int) -> List[Found]:
    """ssdlite320_mobilenet_v3_large: ratios 2 and 3, scales .2 to .95 and 1, grids without steps."""
    scales = [0.2 + (0.95 - 0.2) * layer / 5 for layer in range(6)] + [1.0]
    centres = [[((x + 0.5) / c, (y + 0.5) / r) for y in range(r) for x in range(c)] for c, r in SSD_GRIDS]
    return torchvision_boxes(outputs, width, height, centres, default_shapes(scales, [[2, 3]] * 6))


def ssd300(outputs: Outputs, width: int, height: int) -> List[Found]:
    """ssd300_vgg16: its scales, ratios and steps."""
    scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
    grids = [(38, 8), (19, 16), (10, 32), (5, 64), (3, 100), (1, 300)]
    centres = [[((x + 0.5) * s / 300, (y + 0.5) * s / 300) for y in range(n) for x in range(n)] for n, s in grids]
    shapes = default_shapes(scales, [[2], [2, 3], [2, 3], [2, 3], [2], [2]])
    return torchvision_boxes(outputs, width, height, centres, shapes)


def ssd_pytorch(outputs: Outputs, width: int, height: int) -> List[Found]:
    """https://github.com/dusty-nv/pytorch-ssd, ssd.py in test mode: softmax and corner form are in the graph."""
    return [
        best(scores[1:], [x1 * width, y1 * height, x2 * width, y2 * height])
        for scores, (x1, y1, x2, y2) in zip(outputs["scores"].tolist(), outputs["boxes"].tolist())
    ]


def tf_raw(outputs: Outputs, width: int, height: int) -> List[Found]:
    """ssd_meta_arch.py: raw_detection_boxes is [ymin, xmin, ymax, xmax], raw_detection_scores with background."""
    return [
        best(scores[1:], [x1 * width, y1 * height, x2 * width, y2 * height])
        for scores, (y1, x1, y2, x2) in zip(
            outputs["raw_detection_scores"].tolist(), outputs["raw_detection_boxes"].tolist()
        )
    ]


def tf_final(outputs: Outputs, width: int, height: int) -> List[Found]:
    """exporter.py of the detection API: classes from 1, rows beyond num_detections are zero."""
    return [
        Found(score, max(int(number) - 1, 0), [x1 * width, y1 * height, x2 * width, y2 * height])
        for score, number, (y1, x1, y2, x2) in zip(
            outputs["detection_scores"].tolist(),
            outputs["detection_classes"].tolist(),
            outputs["detection_boxes"].tolist(),
        )
    ]


FORMULAS: Dict[str, Callable[[Outputs, int, int], List[Found]]] = {
    "detr": detr,
    "detr-hf": detr,
    "detr-unnamed": detr,
    "detr-refined": detr,
    "detr-rf": rf_detr,
    "detr-joined": detr_joined,
    "detr-joined-chosen": detr_joined,
    "detr-rows": detr_rows,
    "nanodet": nanodet,
    "nanodet-plus": nanodet,
    "nanodet-g": nanodet,
    "nanodet-rows": nanodet,
    "nanodet-planes": nanodet,
    "ssd-tensorflow": ssd_tensorflow,
    "ssd-lite": ssd_lite,
    "ssd300": ssd300,
    "ssd-pytorch": ssd_pytorch,
    "tf-raw": tf_raw,
    "tf-final": tf_final,
}


def compare(model: onnx.ModelProto, done: FinishedModel, formula: Callable[[Outputs, int, int], List[Found]]) -> float:
    """The finished graph at batch 4 against *formula* on the unfinished one; the largest difference in pixels."""
    images = pictures(done, 4)
    boxes, scores, classes = Session(done.model).run(images)
    session, largest = Session(model), 0.0
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    names = [value.name for value in model.graph.output]
    for index, image in enumerate(images):
        raw = session.run(np.repeat(normalised(image, done.spec)[None], batch, axis=0))
        found = formula({name: output[0] for name, output in zip(names, raw)}, done.spec.width, done.spec.height)
        found = sorted(found, key=lambda one: -one.score)[: done.candidates]
        np.testing.assert_allclose(scores[index], [one.score for one in found], atol=1e-5)
        # Two anchors may score the same in float32 and stand in either order: each must be there.
        truth = np.array([[*one.box, one.class_id, one.score] for one in found])
        for box, class_id, score in zip(boxes[index], classes[index], scores[index]):
            near = truth[np.abs(truth[:, 5] - score) < 1e-5]
            differences = np.abs(near[:, :4] - box).max(axis=1) + 1e6 * (near[:, 4] != class_id) * (score > 0)
            largest = max(largest, float(differences.min()))
    return largest


@pytest.mark.parametrize("name", FORMULAS)
def test_the_finished_graph_decodes_as_the_published_formula(given: Any, name: str) -> None:
    model = given(name)
    done = finish(model, labels=LABELS)
    assert compare(model, done, FORMULAS[name]) < 1e-3


def test_a_classic_detr_leaves_no_object_out(given: Any) -> None:
    model = given("detr")
    done = finish(model, labels=LABELS[:2], head_options={"scoring": "softmax"})
    assert (done.head.preset, done.head.classes, done.head.assumptions) == ("detr-imagenet", 2, ())
    assert compare(model, done, detr_softmax) < 1e-3


def test_queries_of_two_classes_are_no_rows_of_box_score_and_class() -> None:
    head = finish(families.detr_joined(1, 2, chosen=True), labels=LABELS[:2]).head
    assert (head.family, head.classes) == ("detr", 2)


def test_a_score_of_no_object_alone_is_no_detector() -> None:
    with pytest.raises(ModelError, match='the only score is taken as that of "no object"'):
        finish(families.detr_joined(1, 1), head="detr", head_options={"no_object": "last"})


def test_rf_detrs_last_score_is_a_class_where_the_user_says_so(given: Any) -> None:
    head = finish(given("detr-rf"), labels=["a", "b", "c", "d"], head_options={"no_object": "none"}).head
    assert (head.classes, head.preset, head.assumptions) == (4, "detr-imagenet", ())


def test_a_postprocessed_detr_gives_what_it_gives_for_the_inputs_own_size(given: Any) -> None:
    done = finish(given("detr-deployed"), labels=LABELS)
    images = pictures(done, 2)
    boxes, scores, classes = Session(done.model).run(images)
    whole = onnxruntime.InferenceSession(make_family_model("detr-deployed", 1).SerializeToString())
    size = np.array([[done.spec.width, done.spec.height]], np.int64)
    for index, image in enumerate(images):
        inputs = {"input": normalised(image, done.spec)[None], "orig_target_sizes": size}
        labels, truth, best_scores = whole.run(None, inputs)
        np.testing.assert_allclose(boxes[index], truth[0], atol=1e-3)
        np.testing.assert_allclose(scores[index], best_scores[0], atol=1e-6)
        assert np.array_equal(classes[index], labels[0])


@pytest.mark.parametrize("name", ["nms", "nms-centre", "nms-offsets", "nms-fraction"])
def test_nms_on_the_host_keeps_what_nms_in_the_graph_keeps(name: str) -> None:
    """With one class, or one a box: ONNX's own reports a box as every class that it scores high enough for."""
    exported = with_nms(1, name, 3 if name == "nms-offsets" else 1)
    done = finish(without_nms(exported), labels=LABELS[: 3 if name == "nms-offsets" else 1], candidates=384)
    image = pictures(done, 1)
    candidates = Candidates(*Session(done.model).run(image))
    aside = Placement(1, 1, -1000, -1000, 10**6, 10**6)  # nothing is cut off at the picture's edge
    kept = detections(candidates, [aside], min_score=0.2, iou=0.5, max_objects=384)[0]
    whole = onnxruntime.InferenceSession(exported.SerializeToString())
    # The boxes that were selected, [1, n, 1, 4].
    boxes, _ = whole.run(None, {"input": normalised(image[0], done.spec)[None]})
    truth = boxes.reshape(-1, 4) * ([192, 128, 192, 128] if name == "nms-fraction" else 1)
    if name == "nms-centre":
        truth = np.hstack([truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2])
    assert 10 < len(truth) < 384
    np.testing.assert_allclose(ordered(kept.boxes - 1000), ordered(truth), atol=1e-3)


def ordered(boxes: NDArray[Any]) -> NDArray[Any]:
    return boxes[np.lexsort(boxes.round(2).T)]


def test_the_classes_behind_class_offsets_are_the_best(given: Any) -> None:
    """The cut model with offsets finds what the one without finds: same weights."""
    offsets, plain = (finish(given(name), labels=LABELS) for name in ("nms-offsets", "nms"))
    image = pictures(plain, 1)
    for one, other in zip(Session(offsets.model).run(image), Session(plain.model).run(image)):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("name", "plain"), [("nms-efficient", "nms-centre"), ("nms-batched", "nms")])
def test_plugins_of_tensorrt_are_taken_off_as_onnx_nms_is(given: Any, name: str, plain: str) -> None:
    """Same weights, so the same boxes and scores: EfficientNMS wants centre and size, and its sigmoid inside."""
    plugin, onnx_nms = (finish(given(one), labels=LABELS) for one in (name, plain))
    image = pictures(plugin, 1)
    for one, other in zip(Session(plugin.model).run(image), Session(onnx_nms.model).run(image)):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert not any(node.op_type.endswith("_TRT") for node in plugin.model.graph.node)


@pytest.mark.parametrize("name", [name for name in FAMILY_MODELS if name != "tf-final"])
def test_prediction_layers_and_decoding_stay_float_in_int8(given: Any, name: str) -> None:
    done = finish(given(name), labels=LABELS)
    may_be_int8 = layers(done.model, head_nodes(done.model))
    weighed = [node for node in done.model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    read_later = readers_of_readers(done.model.graph)
    for node in weighed:
        leads_on = any(other.name in read_later[node.name] for other in weighed)
        assert leads_on or node.name not in may_be_int8
    assert may_be_int8
    assert not any(node.startswith("sightd/") for node in may_be_int8)


def test_boxes_that_later_layers_refine_are_predictions_too(given: Any) -> None:
    """Of DETR's decoder all that makes boxes stays float, and the scores; what makes features need not."""
    done = finish(given("detr-refined"), labels=LABELS)
    products = [node for node in done.model.graph.node if node.op_type == "MatMul" and "sightd" not in node.name]
    widths = {weight.name: list(weight.dims) for weight in done.model.graph.initializer}
    may_be_int8 = layers(done.model, head_nodes(done.model))
    found = [widths[node.input[1]] for node in products if node.name in may_be_int8]
    # Query, key, value and the layer behind attention, then the one that reads the first layer's boxes.
    assert found == [[8, 8]] * 4 + [[4, 8]]


def test_what_the_body_of_an_if_reads_is_a_prediction_too() -> None:
    net = Net(1)
    rows = net.conv(net.backbone("input"), 8, 6)
    prediction = net.nodes[-1].name
    body = helper.make_graph(
        [helper.make_node("Sigmoid", [rows], ["inside"])],
        "body",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )
    condition = net.constant(np.array(True))
    model = net.model([net.add("If", condition, then_branch=body, else_branch=body)])
    assert prediction in head_nodes(model)


def test_a_layer_that_only_gives_its_shape_to_the_outputs_is_no_prediction() -> None:
    net = Net("N")
    features = net.backbone("input")
    channels = net.add("Gather", net.add("Shape", features), net.constant([1]))
    scaled = net.add("Div", net.conv(features, 8, 4), net.add("Cast", channels, to=TensorProto.FLOAT))
    model = net.model([scaled])
    assert len(layers(model, head_nodes(model))) == 1  # the backbone's


def readers_of_readers(graph: onnx.GraphProto) -> Dict[str, List[str]]:
    """For each node the names of all nodes behind it that are the model's own."""
    behind: Dict[str, List[str]] = {}
    for index in reversed(range(len(graph.node))):
        node, found = graph.node[index], []
        for later in graph.node[index + 1 :]:
            if set(later.input) & set(node.output) and not later.name.startswith("sightd/"):
                found += [later.name, *behind[later.name]]
        behind[node.name] = found
    return behind


@pytest.mark.parametrize("name", ["detr", "detr-deployed", "nanodet-planes", "ssd-lite", "tf-final", "nms-offsets"])
def test_the_finished_graph_builds_in_tensorrt_too(given: Any, name: str) -> None:
    assert convolution_inputs(finish(given(name), labels=LABELS).model)


def test_a_deploy_export_of_torch_with_two_inputs_works_at_any_batch(tmp_path: Path) -> None:
    """RT-DETR's deploy mode as its export script has it: attention, two inputs, dynamic batch, opset 16."""
    torch = pytest.importorskip("torch")
    from tests.parts.torch_detr import export_deployed

    path = tmp_path / "deployed.onnx"
    module = export_deployed(path)
    done = finish(load_onnx(path), labels=LABELS)
    assert (done.head.family, done.head.nms_iou, done.max_batch > 1) == ("detr-postprocessed", 1.0, True)
    images = pictures(done, 4)
    boxes, scores, classes = Session(done.model).run(images)
    inputs = torch.from_numpy(np.stack([normalised(image, done.spec) for image in images]))
    sizes = torch.tensor([[done.spec.width, done.spec.height]] * 4)
    with torch.no_grad():
        labels, truth, best_scores = (output.numpy() for output in module(inputs, sizes))
    np.testing.assert_allclose(boxes, truth, atol=1e-2)
    np.testing.assert_allclose(scores, best_scores, atol=1e-5)
    assert np.array_equal(classes, labels)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nanodet", {"reg_max": "none"}, "reg_max is 'none', must be a whole number from 1"),
        ("nanodet", {"reg_max": "99"}, "nanodet needs one output"),
        ("nanodet-plus", {"cell_offset": "1"}, "cell_offset is '1', must be one of 0, 0.5"),
        (
            "ssd-lite",
            {"anchors": "yolo"},
            "anchors is 'yolo', must be one of torchvision-ssd300, torchvision-ssdlite, tens",
        ),
        (
            "ssd-lite",
            {"anchors": "tensorflow"},
            "780 anchors at 192x128 are those of no generator here, .* 492 .tensorflow",
        ),
        ("detr", {"scoring": "linear"}, "scoring is 'linear', must be one of sigmoid, softmax"),
        ("tf-final", {"first_class": "2"}, "first_class is '2', must be one of 0, 1"),
        ("nms", {"box_unit": "inch"}, "box_unit is 'inch', must be one of pixels, fraction"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    given: Any, name: str, options: Mapping[str, str], message: str
) -> None:
    family = EXPECTED[name][0]
    with pytest.raises(ModelError, match=message):
        finish(given(name), labels=LABELS, head=family, head_options=options)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("nms", {"box_format": "yxyx", "box_unit": "fraction"}, {"box_format": "yxyx", "box_unit": "fraction"}),
        ("nms-fraction", {}, {"box_format": "xyxy", "box_unit": "fraction"}),
        ("ssd-lite", {"anchors": "torchvision-ssdlite", "scoring": "sigmoid"}, {"activation": "sigmoid"}),
        ("nanodet", {"cell_offset": "0"}, {"offset": 0}),
        ("tf-final", {"first_class": "0"}, {"first_class": 0}),
    ],
)
def test_options_reach_graph_and_reference_alike(
    given: Any, name: str, options: Mapping[str, str], expected: Mapping[str, Any]
) -> None:
    model = given(name)
    done = finish(model, labels=LABELS, head_options=options)
    assert {field: getattr(done.head, field) for field in expected} == expected
    image = pictures(done, 1)
    truth, _ = Reference(model, done.spec, done.head).candidates(image[0])
    boxes, scores, classes = Session(done.model).run(image)
    clear = truth.scores[0] > 0
    np.testing.assert_allclose(scores[0], truth.scores[0], atol=1e-5)
    np.testing.assert_allclose(boxes[0][clear], truth.boxes[0][clear], rtol=1e-4, atol=1e-2)
    assert np.array_equal(classes[0][clear], truth.classes[0][clear])
