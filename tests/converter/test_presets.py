"""The input spec: preset, metadata and the user's fields in this order; size and layout as the graph has them."""

from __future__ import annotations

import json
from typing import Any, Mapping

import onnx
import pytest
from onnx import helper

from converter.heads import FAMILIES
from converter.model.presets import INPUT_SPEC_KEY, PRESETS, input_size, resolve_spec
from sightd.errors import ModelError
from sightd.types import InputSpec
from tests.parts.models import HEIGHT, WIDTH, centernet_distances, yolox


def with_metadata(text: str) -> onnx.ModelProto:
    model = yolox()
    helper.set_model_props(model, {INPUT_SPEC_KEY: text})
    return model


def opened(**sizes: int) -> onnx.ModelProto:
    """A model whose height and width are open but for *sizes*."""
    model = yolox("N")
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for name, dim in (("height", dims[2]), ("width", dims[3])):
        if name in sizes:
            dim.dim_value = sizes[name]
        else:
            dim.dim_param = name
    return model


def test_yolox_is_as_its_authors_train_it() -> None:
    assert resolve_spec(yolox(), "yolox", {}) == InputSpec(WIDTH, HEIGHT, resize="letterbox-topleft", pad_value=114)


def test_the_layout_is_read_from_the_input() -> None:
    spec = resolve_spec(centernet_distances(), "centernet-distances", {})
    assert spec == InputSpec(WIDTH, HEIGHT, resize="stretch", channel_order="rgb", layout="nhwc")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_a_valid_spec(preset: str) -> None:
    assert resolve_spec(yolox(), preset, {}).layout == "nchw"


def test_every_family_has_a_preset() -> None:
    assert set(FAMILIES) <= set(PRESETS)


def test_metadata_wins_over_the_preset_and_the_user_over_both() -> None:
    model = with_metadata(json.dumps({"scale": 0.5, "pad_value": 1, "mean": [1, 2, 3]}))
    spec = resolve_spec(model, "yolox", {"pad_value": 2})
    assert (spec.resize, spec.scale, spec.pad_value, spec.mean) == ("letterbox-topleft", 0.5, 2, (1, 2, 3))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"chanel_order": "rgb"}, "no field 'chanel_order'; did you mean channel_order"),
        ({"zzz": 1}, "no field 'zzz'; known: width, height"),
        ({"channel_order": "gbr"}, "^input spec: channel_order is 'gbr', must be one of bgr, rgb"),
        ({"mean": (1, 2)}, "mean"),
        ({"scale": "big"}, "scale"),
        ({"std": (1.0, 0.0, 1.0)}, "std must not be 0"),
        ({"layout": "nhwc"}, "layout is given as 'nhwc'"),
        ({"width": 640}, "fixed at 192: leave --size out"),
        ({"width": "192"}, "--size"),
    ],
)
def test_a_wrong_field_is_refused(overrides: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_spec(yolox(), "yolox", overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no JSON"), ("[" * 100_000, "no JSON"), ("[1]", "must be a JSON object"), ('{"resise": 1}', "did you mean")],
)
def test_damaged_metadata_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_spec(with_metadata(text), "yolox", {})


def test_an_open_size_is_taken_from_the_user_or_the_metadata() -> None:
    with pytest.raises(ModelError, match="width open: give the size"):
        input_size(opened(), {})
    with pytest.raises(ModelError, match=r"of 1000000 pixels in height is more than any engine takes"):
        input_size(opened(), {"width": 64, "height": 1_000_000})
    assert input_size(opened(), {"width": 64, "height": 32}) == (64, 32, "nchw")
    assert input_size(opened(height=96), {"width": 64}) == (64, 96, "nchw")
    model = opened()
    helper.set_model_props(model, {INPUT_SPEC_KEY: '{"width": 320, "height": 256}'})
    assert input_size(model, {}) == (320, 256, "nchw")
    assert input_size(model, {"width": 64, "height": 32}) == (64, 32, "nchw")


def test_an_input_without_an_axis_of_channels_is_refused() -> None:
    model = yolox("N")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(ModelError, match="no axis of 3 channels"):
        input_size(model, {})
