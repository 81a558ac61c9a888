from __future__ import annotations

from typing import Dict

import numpy as np
import onnx
import pytest

from converter.int8.silu import SILU, fuse_silu
from converter.model.session import Session
from tests.parts.int8 import conv, pictures
from tests.parts.models import Net


def operators(model: onnx.ModelProto) -> Dict[str, int]:
    kinds = [node.op_type for node in model.graph.node]
    return {kind: kinds.count(kind) for kind in kinds}


@pytest.mark.parametrize("sigmoid_first", [False, True])
def test_a_silu_becomes_one_operator_that_computes_the_same(sigmoid_first: bool) -> None:
    net = Net("N")
    layer = conv(net, "input", 3, 4)
    pair = (layer, net.add("Sigmoid", layer))
    model = net.model([net.add("Mul", *(reversed(pair) if sigmoid_first else pair))])
    before = model.SerializeToString()
    fused = fuse_silu(model)
    assert model.SerializeToString() == before
    assert operators(fused) == {"Conv": 1, SILU: 1}
    assert fused.graph.node[1].name == model.graph.node[2].name
    (truth,), (found,) = Session(model).run(pictures()[0]), Session(fused).run(pictures()[0])
    assert np.allclose(truth, found, atol=1e-5)


def test_a_sigmoid_that_something_else_reads_stays() -> None:
    net = Net("N")
    layer = conv(net, "input", 3, 4)
    gate = net.add("Sigmoid", layer)
    both = net.add("Add", net.add("Mul", layer, gate), gate)
    assert operators(fuse_silu(net.model([both]))) == {"Conv": 1, "Sigmoid": 1, SILU: 1, "Add": 1}
    assert operators(fuse_silu(net.model([both, gate])))["Sigmoid"] == 1


def test_a_product_with_another_tensors_sigmoid_is_no_silu() -> None:
    net = Net("N")
    layer = conv(net, "input", 3, 4)
    model = net.model([net.add("Mul", layer, net.add("Sigmoid", conv(net, "input", 3, 4)))])
    assert fuse_silu(model) == model
