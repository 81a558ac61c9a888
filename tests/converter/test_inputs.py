"""Inputs beside the picture become constants where they can."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from converter.model.graph import model_input
from converter.model.inputs import with_one_input
from sightd.errors import ModelError
from tests.parts.families import make_family_model
from tests.parts.models import HEIGHT, WIDTH, yolox


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


def test_a_model_with_one_input_stays_itself() -> None:
    model = yolox()
    assert with_one_input(model) is model
