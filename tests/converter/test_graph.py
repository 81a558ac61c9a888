"""Reading ONNX files and bringing them to one dialect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from converter.model.finish import finish
from converter.model.graph import load_onnx, model_input, normalise, opset_of, rename_tensors
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.families import make_family_model
from tests.parts.models import HEIGHT, WIDTH, Net, yolox

SAMPLE = np.random.default_rng(0).random((1, 3, HEIGHT, WIDTH), np.float32) * 255


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a valid ONNX model"),
        (b"not onnx at all, but long enough to be parsed", "not an ONNX file|not a valid"),
        (yolox().SerializeToString()[:-500], "not an ONNX file|not a valid"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_onnx(saved(tmp_path / "model.onnx", content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.onnx: can't be read"):
        load_onnx(tmp_path / "nothing.onnx")


def test_a_file_too_large_for_onnx_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2 << 30)  # sparse: takes no room
    with pytest.raises(ModelError, match="2 GiB"):
        load_onnx(path)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(yolox(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = load_onnx(path)
    assert np.array_equal(Session(model).run(SAMPLE)[0], Session(yolox()).run(SAMPLE)[0])
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_onnx(path)


def test_a_later_version_of_the_file_format_is_read(tmp_path: Path) -> None:
    model = yolox(opset=13)
    model.ir_version = 99
    read = load_onnx(saved(tmp_path / "model.onnx", model.SerializeToString()))
    np.testing.assert_array_equal(Session(read).run(SAMPLE)[0], Session(yolox(opset=13)).run(SAMPLE)[0])


def test_an_opset_of_the_future_says_what_to_do(tmp_path: Path) -> None:
    model = yolox(opset=13)
    model.opset_import[0].version = 999
    with pytest.raises(ModelError, match=r"opset 999 is later than onnx .* knows .*install a newer onnx, or export"):
        load_onnx(saved(tmp_path / "model.onnx", model.SerializeToString()))


def test_an_element_type_that_onnx_has_not_is_refused() -> None:
    model = yolox()
    model.graph.input[0].type.tensor_type.elem_type = 77
    with pytest.raises(ModelError, match=r"the input is 'images' unknown .* must be float32"):
        finish(model, labels=["a", "b", "c"])


def test_a_file_from_before_weights_could_be_no_inputs_is_read(tmp_path: Path) -> None:
    model = make_family_model("detr-deployed")
    model.ir_version = 3
    for weights in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(weights.name, weights.data_type, list(weights.dims)))
    read = load_onnx(saved(tmp_path / "model.onnx", model.SerializeToString()))
    assert finish(read, labels=["a", "b", "c"]).head.family == "detr-postprocessed"


def test_an_invalid_graph_is_refused(tmp_path: Path) -> None:
    model = yolox()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        load_onnx(saved(tmp_path / "model.onnx", model.SerializeToString()))


@pytest.mark.parametrize(("given", "kept"), [(11, 13), (13, 13), (15, 15), (17, 17), (18, 17)])
def test_the_opset_is_brought_into_bounds_and_results_stay(given: int, kept: int) -> None:
    model = yolox(opset=given)
    normal = normalise(model)
    assert (opset_of(normal), normal.ir_version) == (kept, 8)
    np.testing.assert_allclose(Session(normal).run(SAMPLE)[0], Session(model).run(SAMPLE)[0], atol=1e-5)


def test_an_opset_that_can_not_be_lowered_is_refused() -> None:
    net = Net("N", opset=18)
    model = net.model([net.add("BitwiseNot", net.add("Cast", "input", to=TensorProto.INT64), output="int")])
    with pytest.raises(ModelError, match="export it again with opset 13 to 17"):
        normalise(model)


def test_functions_are_put_in_place_of_their_calls(tmp_path: Path) -> None:
    net = Net("N")
    plain = net.model([net.add("Relu", net.backbone("input"))])
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "f", "mine"
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("mine", "f", ["x"], ["y"], body, [helper.make_opsetid("", 13)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.ir_version = 8
    read = load_onnx(saved(tmp_path / "model.onnx", model.SerializeToString()))
    assert not read.functions
    assert [node.op_type for node in read.graph.node] == [node.op_type for node in plain.graph.node]
    np.testing.assert_array_equal(Session(normalise(read)).run(SAMPLE)[0], Session(plain).run(SAMPLE)[0])


def test_weights_are_no_inputs() -> None:
    model = yolox()
    weight = model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    assert model_input(model).name == "images"
    assert [value.name for value in normalise(model).graph.input] == ["images"]


def test_nodes_without_a_name_or_with_anothers_get_their_own() -> None:
    model = yolox()
    for node in model.graph.node[:3]:
        node.name = ""
    model.graph.node[4].name = model.graph.node[5].name
    names = [node.name for node in normalise(model).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert names[6] == model.graph.node[6].name


def test_a_name_that_is_given_is_nobody_elses() -> None:
    model = yolox()
    model.graph.node[0].name, model.graph.node[5].name = "", f"{model.graph.node[0].op_type}#0"
    names = [node.name for node in normalise(model).graph.node]
    assert len(set(names)) == len(names)


def test_a_file_whose_nodes_share_a_name_runs(tmp_path: Path) -> None:
    model = yolox()
    for node in model.graph.node:
        node.name = "x"
    read = load_onnx(saved(tmp_path / "model.onnx", model.SerializeToString()))
    np.testing.assert_array_equal(Session(read).run(SAMPLE)[0], Session(yolox()).run(SAMPLE)[0])


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_an_input_that_is_not_float32_is_refused(kind: int) -> None:
    model = yolox()
    model.graph.input[0].type.tensor_type.elem_type = kind
    with pytest.raises(ModelError, match=r"must be float32"):
        finish(model, labels=["a", "b", "c"])


def test_renaming_reaches_into_the_bodies_of_ifs() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["outer"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["condition"], ["result"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "graph", [], [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)])
    rename_tensors(graph, {"outer": "renamed", "result": "out"})
    assert [body.g.node[0].input[0] for body in graph.node[0].attribute] == ["renamed", "renamed"]
    assert (graph.node[0].output[0], graph.output[0].name) == ("out", "out")
