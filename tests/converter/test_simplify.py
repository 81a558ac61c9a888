"""Simplifying: the same outputs from a graph without what stands between layers for no reason."""

from __future__ import annotations

from typing import List

import numpy as np
import onnx
import pytest

from converter.model.session import Session
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from tests.parts.int8 import conv, kernels, pictures, quantised
from tests.parts.models import HEIGHT, WIDTH, Net


def operators(model: onnx.ModelProto) -> List[str]:
    return [node.op_type for node in model.graph.node]


def assert_same_outputs(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    batch = np.concatenate(pictures(2))
    for truth, found in zip(Session(model).run(batch), Session(other).run(batch)):
        np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-4)


def with_batch_norm() -> onnx.ModelProto:
    net = Net("N")
    numbers = [net.constant(net.random.uniform(0.5, 2, 8).astype(np.float32)) for _ in range(4)]
    normed = net.add("BatchNormalization", conv(net, "input", 3, 8, bias=False), *numbers)
    return net.model([conv(net, net.add("Relu", normed), 8, 4)])


def with_channels_last_attention(axes: List[int]) -> onnx.ModelProto:
    """Squeeze and excite as a converter from TensorFlow leaves it."""
    net = Net("N")
    last = net.add("Transpose", net.add("Relu", conv(net, "input", 3, 8)), perm=[0, 2, 3, 1])
    mean = net.add("Transpose", net.add("ReduceMean", last, axes=axes), perm=[0, 3, 1, 2])
    gate = net.add("Transpose", net.add("Sigmoid", conv(net, mean, 8, 8, kernel=1)), perm=[0, 2, 3, 1])
    scaled = net.add("Transpose", net.add("Mul", last, gate), perm=[0, 3, 1, 2])
    return net.model([conv(net, conv(net, scaled, 8, 4), 4, 2)])


def test_a_batch_norm_becomes_part_of_its_convolution() -> None:
    model = with_batch_norm()
    simplified = simplify(model)
    assert operators(simplified) == ["Conv", "Relu", "Conv"]
    assert_same_outputs(model, simplified)


@pytest.mark.parametrize("axes", [[1, 2], [-3, -2]])
def test_transposes_cancel_and_means_become_pooling(axes: List[int]) -> None:
    model = with_channels_last_attention(axes)
    simplified = simplify(model)
    assert not {"Transpose", "ReduceMean"} & set(operators(simplified))
    assert "GlobalAveragePool" in operators(simplified)
    assert_same_outputs(model, simplified)
    assert "QLinearGlobalAveragePool" in kernels(quantised(simplified))


@pytest.mark.parametrize(("axes", "keepdims"), [([2, 3], 0), ([1, 2], 1), ([1], 1)])
def test_other_means_stay(axes: List[int], keepdims: int) -> None:
    net = Net("N")
    model = net.model([net.add("ReduceMean", conv(net, "input", 3, 8), axes=axes, keepdims=keepdims)])
    simplified = simplify(model)
    assert "ReduceMean" in operators(simplified)
    assert_same_outputs(model, simplified)


def test_a_mean_over_two_of_three_dimensions_stays() -> None:
    net = Net("N")
    volume = net.add("Reshape", conv(net, "input", 3, 8), net.constant([0, 8, HEIGHT, WIDTH // 2, 2]))
    model = net.model([net.add("ReduceMean", volume, axes=[2, 3])])
    assert_same_outputs(model, simplify(model))


def test_the_model_keeps_its_batch_its_opset_and_its_ends() -> None:
    model = with_channels_last_attention([1, 2])
    before = model.SerializeToString(deterministic=True)
    simplified = simplify(model)
    assert simplified.opset_import == model.opset_import
    assert simplified.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert [value.name for value in simplified.graph.output] == [value.name for value in model.graph.output]
    assert len({node.name for node in simplified.graph.node}) == len(simplified.graph.node)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(simplified, full_check=True)


def test_our_own_nodes_still_count_as_the_head() -> None:
    net = Net("N")
    net.nodes.append(onnx.helper.make_node("Relu", ["input"], ["clean"], name="sightd/input/Relu_0"))
    model = net.model([conv(net, conv(net, "clean", 3, 8), 8, 4)])
    assert "sightd/input/Relu_0" in head_nodes(simplify(model))
