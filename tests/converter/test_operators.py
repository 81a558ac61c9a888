"""Operators that are none of ONNX's are named before anything else fails on them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from converter.model.graph import load_onnx
from sightd.errors import ModelError


def model(*nodes: onnx.NodeProto, domain: str = "") -> onnx.ModelProto:
    picture = helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 8, 8])
    imports = [helper.make_opsetid("", 13), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(helper.make_graph(list(nodes), "g", [picture], [out]), opset_imports=imports, ir_version=8)


@pytest.mark.parametrize(
    ("node", "domain", "named"),
    [
        (helper.make_node("Wobble", ["in"], ["out"], "head/wobble", domain="my.lab"), "my.lab", "my.lab::Wobble"),
        (helper.make_node("EfficientNMS_TRT", ["in"], ["out"], "nms", domain="TRT"), "TRT", "TRT::EfficientNMS_TRT"),
        (helper.make_node("Wobble", ["in"], ["out"], "head/wobble"), "", "operator Wobble"),
        (helper.make_node("Wobble", ["in"], ["out"]), "", "node 'out'"),
    ],
)
def test_a_foreign_operator_is_named_with_its_node_and_what_to_do(
    tmp_path: Path, node: onnx.NodeProto, domain: str, named: str
) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(model(node, domain=domain).SerializeToString())
    with pytest.raises(ModelError, match="Export the model without it") as error:
        load_onnx(path)
    assert named in str(error.value)
    assert (node.name or "out") in str(error.value)


def test_one_in_the_body_of_an_if_is_found(tmp_path: Path) -> None:
    inner = helper.make_node("Wobble", ["in"], ["deep"], "deep/wobble", domain="my.lab")
    body = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("deep", TensorProto.FLOAT, None)])
    condition = helper.make_node(
        "Constant", [], ["c"], "c", value=helper.make_tensor("v", TensorProto.BOOL, [], [True])
    )
    outer = helper.make_node("If", ["c"], ["out"], "if", then_branch=body, else_branch=body)
    path = tmp_path / "foreign.onnx"
    path.write_bytes(model(condition, outer, domain="my.lab").SerializeToString())
    with pytest.raises(ModelError, match=r"'deep/wobble' uses the operator my\.lab::Wobble"):
        load_onnx(path)


def test_an_operator_that_only_onnxruntime_has_is_left_to_it(tmp_path: Path) -> None:
    node = helper.make_node("Gelu", ["in"], ["out"], "gelu", domain="com.microsoft")
    path = tmp_path / "microsoft.onnx"
    path.write_bytes(model(node, domain="com.microsoft").SerializeToString())
    assert load_onnx(path).graph.node[0].name == "gelu"
