"""Models in half precision or of uint8 pixels become float32 ones that detect the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converter.model.finish import finish
from converter.model.float32 import as_float32
from converter.model.graph import describe, metadata, set_metadata
from converter.model.presets import INPUT_SPEC_KEY
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.models import HEIGHT, WIDTH, Net, centernet_distances, yolox

SAMPLE = np.random.default_rng(0).random((2, 3, HEIGHT, WIDTH), np.float32) * 255
PIXELS = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
LABELS = ["a", "b", "c"]


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """As an exporter of a .half() model writes it: weights, input and outputs."""
    for weights in model.graph.initializer:
        if weights.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weights)
            weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weights.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def between_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    """As converters leave it: half precision inside, float32 at both ends."""
    half = halved(model)
    entry, leave = half.graph.input[0], half.graph.output[0]
    for node in half.graph.node:
        node.input[:] = ["half" if name == entry.name else name for name in node.input]
        node.output[:] = ["made" if name == leave.name else name for name in node.output]
    half.graph.node.insert(0, helper.make_node("Cast", [entry.name], ["half"], "in", to=TensorProto.FLOAT16))
    half.graph.node.append(helper.make_node("Cast", ["made"], [leave.name], "out", to=TensorProto.FLOAT))
    del half.graph.value_info[:]
    entry.type.tensor_type.elem_type = leave.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.checker.check_model(half)
    return half


@pytest.mark.parametrize("kind", ["whole", "between casts"])
def test_half_precision_is_widened_and_said(kind: str) -> None:
    given = (between_casts if kind == "between casts" else halved)(yolox("N", opset=13))
    model, notes = as_float32(given)
    assert ["float16 weights were converted to float32" in note for note in notes] == [True]
    onnx.checker.check_model(model, full_check=True)
    assert describe(model.graph.input[0]).dtype == "float32"
    truth, found = Session(yolox("N", opset=13)).run(SAMPLE)[0], Session(model).run(SAMPLE)[0]
    np.testing.assert_allclose(found, truth, rtol=0.02, atol=0.5)
    assert finish(model, labels=LABELS).max_batch > 1


def test_half_precision_in_bodies_and_constants_is_found() -> None:
    net = Net("N")
    value = numpy_helper.from_array(np.array(2, np.float16), "value")
    body = helper.make_graph(
        [
            helper.make_node("Constant", [], ["two"], "two", value=value),
            helper.make_node("Cast", ["input"], ["narrow"], "narrow", to=TensorProto.FLOAT16),
            helper.make_node("Mul", ["narrow", "two"], ["double"], "double"),
            helper.make_node("Cast", ["double"], ["wide"], "wide", to=TensorProto.FLOAT),
        ],
        "body",
        [],
        [helper.make_tensor_value_info("wide", TensorProto.FLOAT, None)],
    )
    condition = net.constant(np.array(True))
    result = net.add("If", condition, then_branch=body, else_branch=body)
    model, notes = as_float32(net.model([net.add("Relu", result)]))
    assert len(notes) == 1
    assert b"FLOAT16" not in onnx.printer.to_text(model).encode().upper()
    np.testing.assert_array_equal(Session(model).run(SAMPLE)[0], SAMPLE * 2)


def test_a_float32_model_is_left_alone() -> None:
    model = yolox("N")
    same, notes = as_float32(model)
    assert same is model
    assert notes == []


def of_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """As TensorFlow exports it: uint8 pixels in, cast inside."""
    entry = model.graph.input[0]
    for node in model.graph.node:
        node.input[:] = ["float" if name == entry.name else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", [entry.name], ["float"], "cast", to=TensorProto.FLOAT))
    entry.type.tensor_type.elem_type = TensorProto.UINT8
    return model


def test_uint8_pixels_channels_last_are_taken_as_they_are() -> None:
    given = of_pixels(centernet_distances("N"))
    model, notes = as_float32(given)
    assert ["takes uint8 pixels" in note for note in notes] == [True]
    truth, found = Session(given).run(PIXELS), Session(model).run(PIXELS.astype(np.float32))
    assert all(np.array_equal(one, other) for one, other in zip(truth, found))
    done = finish(model, head="centernet", labels=LABELS)
    assert (done.spec.layout, done.spec.scale, list(done.spec.mean), list(done.spec.std)) == (
        "nhwc",
        1,
        [0] * 3,
        [1] * 3,
    )


def test_what_the_model_says_of_its_pixels_wins() -> None:
    given = of_pixels(centernet_distances("N"))
    set_metadata(given, INPUT_SPEC_KEY, '{"channel_order": "bgr", "scale": 2.0}')
    model, _ = as_float32(given)
    assert '"scale": 2.0' in (metadata(model, INPUT_SPEC_KEY) or "")
    assert finish(model, labels=LABELS).spec.channel_order == "bgr"


def test_a_model_that_computes_with_uint8_is_refused() -> None:
    net = Net("N", layout="nhwc")
    mean = net.constant(np.array(3, np.uint8))
    shifted = net.add("Cast", net.add("Max", "input", mean), to=TensorProto.FLOAT)
    features = net.backbone(net.add("Transpose", shifted, perm=[0, 3, 1, 2]))
    net.input.type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(ModelError, match="computes with its uint8 input before it casts"):
        as_float32(net.model([features]))
