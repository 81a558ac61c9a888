"""Inputs beside the picture become constants where they can, and a picture in uint8 float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from converter.model.finish import finish
from converter.model.graph import load_onnx, model_input
from converter.model.inputs import with_one_input
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.families import make_family_model
from tests.parts.models import HEIGHT, WIDTH, Net, yolox


def of_bytes() -> onnx.ModelProto:
    """As TensorFlow's detection API is converted: uint8 [B, H, W, 3], cast at once."""
    net = Net(1, layout="nhwc", name="bytes")
    net.input.type.tensor_type.elem_type = TensorProto.UINT8
    features = net.backbone(net.add("Transpose", net.add("Cast", "bytes", to=TensorProto.FLOAT), perm=[0, 3, 1, 2]))
    heat, sides = net.add("Sigmoid", net.conv(features, 8, 3)), net.conv(features, 8, 4)
    return net.model([net.add("Transpose", plane, perm=[0, 2, 3, 1]) for plane in (heat, sides)])


def test_the_pictures_size_takes_the_place_of_the_input_that_tells_it() -> None:
    given = make_family_model("detr-deployed", "N")
    model = with_one_input(given)
    assert model_input(model).name == "input"
    (size,) = [weight for weight in model.graph.initializer if weight.name == "orig_target_sizes"]
    assert numpy_helper.to_array(size).tolist() == [[WIDTH, HEIGHT]]
    assert numpy_helper.to_array(size).dtype == np.int64
    assert [value.name for value in given.graph.input] == ["input", "orig_target_sizes"]


def test_a_picture_of_open_size_leaves_the_input_and_the_error_says_what_to_do() -> None:
    given = make_family_model("detr-deployed")
    given.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model = with_one_input(given)
    with pytest.raises(ModelError, match=r"has 2 \(input, orig_target_sizes\): export it .* fixed size of the picture"):
        model_input(model)


def test_a_picture_in_uint8_comes_in_float_and_computes_the_same(tmp_path: Path) -> None:
    path = tmp_path / "bytes.onnx"
    path.write_bytes(of_bytes().SerializeToString())
    model = load_onnx(path)
    assert model_input(model).dtype == "float32"
    picture = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    for one, other in zip(Session(of_bytes()).run(picture), Session(model).run(picture.astype(np.float32))):
        np.testing.assert_array_equal(one, other)
    assert finish(model, labels=["a", "b", "c"]).max_batch > 1


def test_a_finished_graph_keeps_its_uint8_and_is_refused() -> None:
    finished = finish(yolox(), labels=["a", "b", "c"]).model
    assert with_one_input(finished) is finished
    with pytest.raises(ModelError, match="finished by sightd already"):
        model_input(with_one_input(finished))


def test_a_model_with_one_float_input_stays_itself() -> None:
    model = yolox()
    assert with_one_input(model) is model
