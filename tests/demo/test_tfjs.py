"""The TFJS importer against plain NumPy, one operation at a time, and what it refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import cv2
import numpy as np
import onnxruntime
import pytest

from demo.fetch import fetch_model
from demo.tfjs import import_graph
from sightd.errors import ModelError

ONES = {"list": {"i": ["1", "1", "1", "1"]}}
KEEP_DIMS = {"keep_dims": {"b": True}}


def text(value: str) -> Dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def conv_attributes(padding: str = "SAME", stride: int = 1, fused: Optional[List[str]] = None) -> Dict[str, Any]:
    step = str(stride)
    return {
        "padding": text(padding),
        "data_format": text("NHWC"),
        "dilations": ONES,
        "strides": {"list": {"i": ["1", step, step, "1"]}},
        **({"fused_ops": {"list": {"s": [text(op)["s"] for op in fused]}}} if fused else {}),
    }


class Tfjs:
    """A tiny TFJS graph under construction: placeholder ``x``, then whatever the test adds."""

    def __init__(self, folder: Path, height: int, width: int, channels: int) -> None:
        self.json, self.bin = folder / "model.json", folder / "model.bin"
        shape = {"shape": {"dim": [{"size": str(size)} for size in (1, height, width, channels)]}}
        self.nodes: List[Dict[str, Any]] = [{"name": "x", "op": "Placeholder", "attr": {"shape": shape}}]
        self.entries: List[Dict[str, Any]] = []
        self.data = b""
        self.image = np.random.default_rng(7).normal(0, 3, (1, height, width, channels)).astype(np.float32)

    def constant(self, name: str, value: Any, dtype: str = "float32", stored: Optional[str] = None) -> str:
        array = np.asarray(value)
        self.nodes.append({"name": name, "op": "Const"})
        quantization = {"quantization": {"dtype": stored, "original_dtype": dtype}} if stored else {}
        self.entries.append({"name": name, "shape": list(array.shape), "dtype": dtype, **quantization})
        self.data += array.astype(stored or dtype).tobytes()
        return name

    def node(self, op: str, *inputs: str, name: str = "y", **attributes: Any) -> str:
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        return name

    def write(self) -> None:
        manifest = [{"paths": ["model.bin"], "weights": self.entries}]
        # Nodes come in no particular order.
        document = {"modelTopology": {"node": self.nodes[::-1]}, "weightsManifest": manifest}
        self.json.write_text(json.dumps(document), "utf-8")
        self.bin.write_bytes(self.data)

    def run(self, head: str = "y") -> Any:
        self.write()
        model = import_graph(self.json, self.bin, {head: "out"})
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(["out"], {"image": self.image})[0]


@pytest.fixture
def graph(tmp_path: Path) -> Tfjs:
    return Tfjs(tmp_path, 6, 7, 3)


def weights(*shape: int) -> Any:
    return np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)


def convolved(image: Any, kernel: Any, stride: int, padding: str) -> Any:
    """TensorFlow's definition, literally: NHWC, HWIO, with SAME the odd pixel of padding at the end."""
    height, width = image.shape[1:3]
    reach_y, reach_x = kernel.shape[:2]
    if padding == "SAME":
        pad_y = max((-(-height // stride) - 1) * stride + reach_y - height, 0)
        pad_x = max((-(-width // stride) - 1) * stride + reach_x - width, 0)
        around = ((0, 0), (pad_y // 2, pad_y - pad_y // 2), (pad_x // 2, pad_x - pad_x // 2), (0, 0))
        image = np.pad(image, around)
    rows = range(0, image.shape[1] - reach_y + 1, stride)
    columns = range(0, image.shape[2] - reach_x + 1, stride)
    patches = [[image[0, y : y + reach_y, x : x + reach_x] for x in columns] for y in rows]
    return np.einsum("yxhwc,hwco->yxo", np.array(patches), kernel)[None]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_pads_as_tensorflow_does(graph: Tfjs, padding: str, stride: int) -> None:
    kernel = weights(3, 3, 3, 5)
    graph.node("Conv2D", "x", graph.constant("k", kernel), **conv_attributes(padding, stride))
    np.testing.assert_allclose(graph.run(), convolved(graph.image, kernel, stride, padding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("activation", "low", "high"), [("Relu", 0, np.inf), ("Relu6", 0, 6)])
def test_fused_convolution_adds_its_bias_before_its_activation(
    graph: Tfjs, activation: str, low: float, high: float
) -> None:
    kernel, bias = weights(1, 1, 3, 4), np.array([-1, 0, 1, 4], np.float32)
    inputs = ("x", graph.constant("k", kernel), graph.constant("b", bias))
    graph.node("_FusedConv2D", *inputs, **conv_attributes(fused=["BiasAdd", activation]))
    expected = np.clip(convolved(graph.image, kernel, 1, "SAME") + bias, low, high)
    np.testing.assert_allclose(graph.run(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", ["DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"])
def test_depthwise_convolution_keeps_the_order_of_channel_and_multiplier(graph: Tfjs, op: str) -> None:
    kernel, bias = weights(3, 3, 3, 2), np.arange(6, dtype=np.float32)
    fused = ["BiasAdd"] if op.startswith("Fused") else []
    graph.node(
        op, "x", graph.constant("k", kernel), graph.constant("b", bias), **conv_attributes(stride=2, fused=fused)
    )
    channels = [convolved(graph.image[..., [c]], kernel[:, :, [c], :], 2, "SAME") for c in range(3)]
    expected = np.concatenate(channels, axis=-1) + (bias if fused else 0)
    np.testing.assert_allclose(graph.run(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "truth"),
    [
        ("Relu", lambda x: np.maximum(x, 0)),
        ("Relu6", lambda x: np.clip(x, 0, 6)),
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("Identity", lambda x: x),
    ],
)
def test_activation(graph: Tfjs, op: str, truth: Any) -> None:
    graph.node(op, "x")
    np.testing.assert_allclose(graph.run(), truth(graph.image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [("x", "c"), ("c", "x")])
@pytest.mark.parametrize(("op", "truth"), [("Add", np.add), ("Mul", np.multiply)])
def test_elementwise_with_a_scalar_on_either_side(graph: Tfjs, op: str, truth: Any, order: Any) -> None:
    graph.constant("c", np.float32(2.5))
    graph.node(op, *order)
    np.testing.assert_allclose(graph.run(), truth(graph.image, np.float32(2.5)), rtol=1e-6)


def test_squeeze_and_excite_multiplies_a_map_by_its_mean(graph: Tfjs) -> None:
    graph.constant("axes", [1, 2], "int32")
    graph.node("Mean", "x", "axes", name="mean", **KEEP_DIMS)
    graph.node("Mul", "mean", "x")
    expected = graph.image * graph.image.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(graph.run(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("half_pixel", [False, True])
def test_bilinear_resize_samples_where_tensorflow_does(graph: Tfjs, half_pixel: bool) -> None:
    graph.constant("size", [12, 14], "int32")
    graph.node("ResizeBilinear", "x", "size", half_pixel_centers={"b": half_pixel}, align_corners={"b": False})
    shift = 0.5 if half_pixel else 0.0
    at = [np.clip((np.arange(n * 2) + shift) / 2 - shift, 0, n - 1) for n in (6, 7)]
    low = [np.floor(where).astype(int) for where in at]
    high = [np.minimum(where + 1, limit) for where, limit in zip(low, (5, 6))]
    part_y, part_x = (at[0] - low[0])[:, None, None], (at[1] - low[1])[None, :, None]
    image = graph.image[0]
    top = image[low[0]][:, low[1]] * (1 - part_x) + image[low[0]][:, high[1]] * part_x
    bottom = image[high[0]][:, low[1]] * (1 - part_x) + image[high[0]][:, high[1]] * part_x
    np.testing.assert_allclose(graph.run()[0], top * (1 - part_y) + bottom * part_y, rtol=1e-4, atol=1e-5)


def test_concat_joins_channels(graph: Tfjs) -> None:
    graph.constant("axis", 3, "int32")
    graph.node("Relu", "x", name="positive")
    graph.node("ConcatV2", "x", "positive", "axis")
    expected = np.concatenate([graph.image, np.maximum(graph.image, 0)], axis=-1)
    np.testing.assert_array_equal(graph.run(), expected)


def test_weights_stored_as_float16_are_widened(graph: Tfjs) -> None:
    graph.constant("before", [1, 2], "int32")
    graph.node("Mul", "x", graph.constant("third", np.float32(1 / 3), stored="float16"))
    np.testing.assert_allclose(graph.run(), graph.image * np.float32(np.float16(1 / 3)), rtol=1e-6)


def test_transposes_only_at_the_edges_and_leaves_out_what_no_head_needs(graph: Tfjs) -> None:
    graph.node("Relu", "x", name="a")
    graph.node("Sigmoid", "a", name="b")
    graph.node("TopKV2", "b", name="beyond")
    graph.write()
    model = import_graph(graph.json, graph.bin, {"a": "first", "b": "second"})
    ops = [node.op_type for node in model.graph.node]
    assert sorted(ops) == ["Relu", "Sigmoid", "Transpose", "Transpose", "Transpose"]
    assert [output.name for output in model.graph.output] == ["first", "second"]
    assert model.opset_import[0].version == 13


def test_an_unknown_operation_is_named(graph: Tfjs) -> None:
    graph.node("TopKV2", "x")
    with pytest.raises(ModelError, match=r"TopKV2 \(y\) is not supported; supported: Add"):
        graph.run()


def test_an_unknown_head_is_named(graph: Tfjs) -> None:
    with pytest.raises(ModelError, match="no node 'elsewhere'"):
        graph.run("elsewhere")


def refuse(graph: Tfjs, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        graph.run()


def test_forms_that_would_be_imported_wrongly_are_refused(graph: Tfjs) -> None:
    kernel, axes, size = graph.constant("k", weights(1, 1, 3, 4)), [1], [12, 14]
    graph.constant("vector", [1, 2, 3])
    graph.constant("axes", axes, "int32")
    graph.constant("size", size, "int32")
    graph.constant("axis", 1, "int32")
    conv = conv_attributes()
    for why, op, inputs, attributes in (
        ("data_format", "Conv2D", ("x", kernel), {**conv, "data_format": text("NCHW")}),
        ("padding is EXPLICIT", "Conv2D", ("x", kernel), {**conv, "padding": text("EXPLICIT")}),
        ("fused with Elu", "_FusedConv2D", ("x", kernel, "vector"), conv_attributes(fused=["BiasAdd", "Elu"])),
        ("activation where a constant", "Conv2D", ("x", "x"), conv),
        ("constant where an activation", "Relu", ("vector",), {}),
        ("not a scalar", "Add", ("x", "vector"), {}),
        ("both operands are constants", "Add", ("vector", "vector"), {}),
        ("not a mean over height and width", "Mean", ("x", "axes"), KEEP_DIMS),
        ("align_corners", "ResizeBilinear", ("x", "size"), {"align_corners": {"b": True}}),
        ("not along the channels", "ConcatV2", ("x", "x", "axis"), {}),
    ):
        graph.node(op, *inputs, **attributes)
        refuse(graph, why)
        graph.nodes.pop()


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\0" * 13])
def test_a_weights_file_of_another_size_is_refused(graph: Tfjs, data: bytes) -> None:
    graph.node("Relu", "x")
    graph.constant("c", [1, 2, 3])
    graph.data = data
    refuse(graph, r"not a readable TensorFlow\.js graph model")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"modelTopology": null}', '{"modelTopology": {"node": [{}]}}'])
def test_another_json_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content, "utf-8")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"not a readable TensorFlow\.js graph model"):
        import_graph(tmp_path / "model.json", tmp_path / "model.bin", {"y": "out"})


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a readable TensorFlow\.js graph model"):
        import_graph(tmp_path / "model.json", tmp_path / "model.bin", {"y": "out"})


@pytest.mark.net
def test_the_demos_model_equals_an_independent_conversion(tmp_path: Path, assets: Path) -> None:
    heads = {"tower_0/keypoints": "heatmap", "tower_0/wh": "ltrb"}
    ours = import_graph(*fetch_model(tmp_path, print), heads).SerializeToString()
    theirs = str(assets / "models" / "centernet_mbv3" / "centernet_mbv3_512.onnx")
    pictures = sorted((assets / "images" / "calib_coco_train80").glob("*.jpg"))[:3]
    sessions = [onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (ours, theirs)]
    for picture in pictures:
        pixels = cv2.imread(str(picture))
        assert pixels is not None
        image = cv2.resize(pixels, (512, 512))[None, :, :, ::-1].astype(np.float32)
        (heatmap, ltrb), (their_heatmap, their_ltrb) = (
            session.run(list(heads.values()), {"image": image}) for session in sessions
        )
        np.testing.assert_allclose(heatmap, their_heatmap, atol=1e-5)
        np.testing.assert_allclose(ltrb, their_ltrb, rtol=1e-4, atol=1e-2)
