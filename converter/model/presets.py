"""What a graph can't tell: how a picture becomes the model's input, by family, metadata and the user's word."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Dict, Mapping, Optional, Tuple

import msgspec
import onnx

from sightd.bounded import decode_json
from sightd.errors import ModelError
from sightd.types import InputSpec

from .graph import metadata, model_input
from .ultralytics import metadata_size, metadata_spec

__all__ = ["INPUT_SPEC_KEY", "MOST_PIXELS", "PRESETS", "input_size", "recorded_spec", "resolve_spec"]

#: ONNX metadata that holds fields of InputSpec as a JSON object.
INPUT_SPEC_KEY = "sightd.input_spec"

#: Of the input's sides. Twice an 8K picture's; what is larger is a slip of the hand, and no memory holds it.
MOST_PIXELS = 16384

_RGB_0_1: Mapping[str, object] = {"channel_order": "rgb", "scale": 1 / 255}
_LETTERBOX: Mapping[str, object] = {"resize": "letterbox-centre", "pad_value": 114, **_RGB_0_1}

#: Head preset -> fields of InputSpec; size and layout come from the graph.
PRESETS: Mapping[str, Mapping[str, object]] = {
    "yolox": {"resize": "letterbox-topleft", "pad_value": 114, "channel_order": "bgr"},
    "yolov5": _LETTERBOX,
    "yolov5-raw": _LETTERBOX,
    "yolov6": _LETTERBOX,
    "yolov8": _LETTERBOX,
    "yolov8-raw": _LETTERBOX,
    "end-to-end": _LETTERBOX,
    "centernet-distances": {"resize": "stretch", "channel_order": "rgb"},
    "centernet": {
        "resize": "letterbox-centre",
        "pad_value": 0,
        "channel_order": "bgr",
        "scale": 1 / 255,
        "mean": (0.408, 0.447, 0.470),
        "std": (0.289, 0.274, 0.278),
    },
    "fastestdet": {"resize": "stretch", "interpolation": "area", "channel_order": "bgr", "scale": 1 / 255},
    "detr": {"resize": "stretch", **_RGB_0_1},
    "detr-imagenet": {"resize": "stretch", **_RGB_0_1, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "detr-postprocessed": {"resize": "stretch", **_RGB_0_1},
    "nanodet": {
        "resize": "stretch",
        "channel_order": "bgr",
        "mean": (103.53, 116.28, 123.675),
        "std": (57.375, 57.12, 58.395),
    },
    # MobileNet's -1..1: TensorFlow and torchvision's SSDLite.
    "ssd": {"resize": "stretch", "channel_order": "rgb", "scale": 1 / 127.5, "mean": (1, 1, 1)},
    "ssd-vgg": {"resize": "stretch", "channel_order": "rgb", "mean": (123, 117, 104)},
    "ssd-pytorch": {"resize": "stretch", "channel_order": "rgb", "mean": (127, 127, 127), "std": (128, 128, 128)},
    # The graph does the rest.
    "tf-detections": {"resize": "stretch", "channel_order": "rgb"},
    "classifier": {
        "resize": "stretch",
        "channel_order": "rgb",
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    "nms": _LETTERBOX,
    "boxes-scores": _LETTERBOX,
}


def input_size(model: onnx.ModelProto, overrides: Mapping[str, object]) -> Tuple[int, int, str]:
    """Width and height in pixels and the layout ("nchw" or "nhwc") of the model's input.

    :param overrides: "width" and "height" say what an open graph leaves unsaid.
    :raises ModelError: the graph leaves them open and so do the overrides, or the two differ.
    """
    tensor = model_input(model)
    layouts = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if tensor.shape[axis] == 3]
    if len(layouts) != 1:
        raise ModelError(f"the input {tensor} has no axis of 3 channels, or two: export the model with a fixed size")
    rows, columns = (tensor.shape[2], tensor.shape[3]) if layouts == ["nchw"] else (tensor.shape[1], tensor.shape[2])
    wanted = {**metadata_size(model), **recorded_spec(model), **overrides} if None in (rows, columns) else overrides
    return _dimension("width", columns, wanted), _dimension("height", rows, wanted), layouts[0]


def resolve_spec(model: onnx.ModelProto, preset: str, overrides: Mapping[str, object]) -> InputSpec:
    """The input spec: the preset, then the model's metadata, then *overrides*; size and layout as the graph has them.

    :param preset: a key of PRESETS.
    :param overrides: fields of InputSpec by name.
    :raises ModelError: a field that does not exist or a value that it can't have.
    """
    width, height, layout = input_size(model, overrides)
    metadata = {**metadata_spec(model), **recorded_spec(model)}
    fields = {**PRESETS[preset], **metadata, **overrides, "width": width, "height": height}
    _check_names(fields)
    if fields.setdefault("layout", layout) != layout:
        raise ModelError(f"layout is given as {fields['layout']!r}, but the model's input is {model_input(model)}")
    try:
        # Made anew, because msgspec leaves defaults out of an instance, and then out of the manifest.
        return dataclasses.replace(msgspec.convert(fields, InputSpec))
    except msgspec.ValidationError as error:
        raise ModelError(f"input spec: {error}") from error


def _dimension(name: str, seen: Optional[int], overrides: Mapping[str, object]) -> int:
    given = overrides.get(name, seen)
    if not isinstance(given, int) or given < 1:
        raise ModelError(f"the model leaves its input's {name} open: give the size it is to run at with --size")
    if seen is not None and given != seen:
        raise ModelError(f"{name} {given} was asked for, but the model's input is fixed at {seen}: leave --size out")
    if given > MOST_PIXELS:
        raise ModelError(f"an input of {given} pixels in {name} is more than any engine takes: give a smaller --size")
    return given


def recorded_spec(model: onnx.ModelProto) -> Dict[str, object]:
    """The fields of InputSpec in the model's metadata; {} where there are none.

    :raises ModelError: they are no JSON object.
    """
    text = metadata(model, INPUT_SPEC_KEY)
    if text is None:
        return {}
    try:
        fields: Any = decode_json(text.encode(), Any)
    except ValueError as error:
        raise ModelError(f"metadata {INPUT_SPEC_KEY} is no JSON ({error}): correct it in the model") from error
    if not isinstance(fields, dict):
        raise ModelError(f"metadata {INPUT_SPEC_KEY} must be a JSON object of input spec fields")
    return fields


def _check_names(fields: Mapping[str, object]) -> None:
    known = [field.name for field in dataclasses.fields(InputSpec)]
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ModelError(f"input spec has no field {name!r}; {hint}")
