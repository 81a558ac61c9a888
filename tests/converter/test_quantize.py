"""Q/DQ graphs: what becomes integer kernels in a real ONNX Runtime, what stays float, and how exact it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from converter.int8.plan import layers, plan_int8, watched_tensors
from converter.int8.quantize import quantize
from converter.int8.ranges import Ranges, collect_ranges
from converter.int8.targets import TENSORRT, X86_VNNI, this_machine
from converter.model.session import Session
from converter.model.tail import head_nodes
from sightd.errors import CalibrationError
from tests.parts.int8 import conv, decibels, kernels, pictures, quantised
from tests.parts.models import Net


def predicting(net: Net, tensor: str, channels: int) -> onnx.ModelProto:
    """The model whose prediction layer, which stays float, reads *tensor*."""
    return net.model([conv(net, tensor, channels, 2, kernel=1)])


def chain(*between: str) -> onnx.ModelProto:
    """A layer, unary operators, another layer, and the prediction layer."""
    net = Net("N")
    tensor = conv(net, "input", 3, 8)
    for operator in between:
        tensor = net.add(operator, tensor)
    return predicting(net, conv(net, tensor, 8, 4), 4)


def names(model: onnx.ModelProto, operator: str) -> List[str]:
    return [node.name for node in model.graph.node if node.op_type == operator]


def scales_of(model: onnx.ModelProto) -> Dict[str, float]:
    """Tensor that is quantised -> its scale."""
    values = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    return {
        node.input[0]: float(values[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"
    }


def test_an_int8_layer_computes_what_its_definition_says() -> None:
    net = Net("N")
    layer = net.add("Relu", conv(net, "input", 3, 4, kernel=1))
    identity = net.constant(np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1))
    int8 = quantised(net.model([net.add("Conv", layer, identity, kernel_shape=[1, 1])]))
    values = {weight.name: numpy_helper.to_array(weight).astype(np.float64) for weight in int8.graph.initializer}
    least, most = (0, 255) if this_machine().activations == "u8" else (-128, 127)
    (name,) = (name[: -len("/weights/int8")] for name in values if name.endswith("/weights/int8"))

    def quantise(real: NDArray[np.float64], tensor: str) -> NDArray[np.float64]:
        scale, zero = values[f"{tensor}/scale"], values[f"{tensor}/zero_point"]
        return np.asarray(np.clip(np.rint(real / scale) + zero, least, most) - zero, np.float64)

    for picture in pictures():
        sums = np.einsum(
            "oc,chw->ohw", values[f"{name}/weights/int8"][:, :, 0, 0], quantise(picture[0].astype(np.float64), "input")
        )
        sums += values[f"{name}/bias/int8"][:, None, None]
        real = sums * (values["input/scale"] * values[f"{name}/weights/scale"])[:, None, None]
        expected = quantise(real, layer) * values[f"{layer}/scale"]
        (found,) = Session(int8).run(picture)
        # A sum halfway between two steps may be rounded to either.
        assert np.abs(found[0] - expected).max() <= 1.01 * values[f"{layer}/scale"]
        assert np.isclose(found[0], expected, atol=1e-4).mean() > 0.999


@pytest.mark.parametrize(
    "between",
    [(), ("Relu",), ("Sigmoid",), ("LeakyRelu",), ("GlobalAveragePool",), ("Relu", "Sigmoid"), ("Sigmoid", "Relu")],
)
def test_all_between_two_layers_becomes_integer_kernels(between: List[str]) -> None:
    model = chain(*between)
    int8 = quantised(model)
    found = kernels(int8)
    assert found["QLinearConv"] == 2
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1
    assert not set(between) & set(found)
    assert decibels(model, int8) > 25


def test_layers_with_weights_of_every_kind_stay_exact() -> None:
    net = Net("N")
    wide = net.add("Relu", conv(net, "input", 3, 8, bias=False))
    depthwise = net.add("Relu", conv(net, wide, 8, 8, groups=8))
    flat = net.add("Flatten", net.add("GlobalAveragePool", depthwise))
    random = net.random
    uneven = np.float32([1e-3, 1, 30, 1, 1])
    offsets = net.constant(random.normal(0, 1, 5).astype(np.float32))
    plain = net.add("Gemm", flat, net.constant(random.normal(0, 1, (8, 5)).astype(np.float32) * uneven), offsets)
    bias = net.constant(random.normal(0, 1, 6).astype(np.float32))
    across = net.add("Gemm", plain, net.constant(random.normal(0, 1, (6, 5)).astype(np.float32)), bias, transB=1)
    plain = net.add("MatMul", across, net.constant(random.normal(0, 1, (6, 4)).astype(np.float32)))
    model = net.model([net.add("MatMul", plain, net.constant(np.eye(4, dtype=np.float32)))])
    assert len(layers(model, head_nodes(model))) == 5
    assert decibels(model, quantised(model)) > 25


def silu_and_residual() -> onnx.ModelProto:
    net = Net("N")
    first = conv(net, "input", 3, 8)
    silu = net.add("Mul", first, net.add("Sigmoid", first))
    joined = net.add("Add", silu, conv(net, silu, 8, 8))
    return predicting(net, conv(net, net.add("Concat", joined, silu, axis=1), 16, 4), 4)


def test_a_silu_and_a_residual_become_integer_kernels() -> None:
    model = silu_and_residual()
    int8 = quantised(model, target=replace(this_machine(), fuse_silu=False))
    found = kernels(int8)
    assert {"QLinearConv", "QLinearSigmoid", "QLinearMul", "QLinearAdd", "QLinearConcat"} <= set(found)
    assert not {"Sigmoid", "Mul", "Add", "Concat"} & set(found)
    assert decibels(model, int8) > 25


@pytest.mark.parametrize("scope", ["all", "conv"])
def test_a_silu_between_int8_layers_is_one_float_operator_where_the_target_wants_that(scope: str) -> None:
    model = silu_and_residual()
    int8 = quantised(model, scope=scope, target=replace(this_machine(), fuse_silu=True))
    found = kernels(int8)
    assert (found["QLinearConv"], found["QuickGelu"]) == (3, 1)
    assert not {"QLinearSigmoid", "QLinearMul", "Sigmoid", "Mul"} & set(found)
    assert decibels(model, int8) > 25


def test_a_clip_at_six_and_constant_operands_become_integer_kernels() -> None:
    net = Net("N")
    three, sixth = (net.constant(np.array(value, np.float32)) for value in (3.0, 1 / 6))
    limits = [net.constant(np.array(value, np.float32)) for value in (0.0, 6.0)]
    first = conv(net, "input", 3, 8)
    gate = net.add("Clip", net.add("Add", first, three), *limits)
    model = predicting(net, conv(net, net.add("Mul", net.add("Mul", first, sixth), gate), 8, 4), 4)
    int8 = quantised(model)
    assert not {"Clip", "Mul", "Add"} & set(kernels(int8))
    assert decibels(model, int8) > 25


def test_what_only_moves_values_keeps_their_scale() -> None:
    net = Net("N")
    first = net.add("Relu", conv(net, "input", 3, 8))
    pooled = net.add("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2])
    shuffled = net.add("Gather", pooled, net.constant([7, 6, 5, 4, 3, 2, 1, 0]), axis=1)
    left, right = (net.add("Slice", shuffled, *map(net.constant, ([at], [at + 4], [1]))) for at in (0, 4))
    model = predicting(net, conv(net, net.add("Concat", left, right, axis=1), 8, 4), 4)
    int8 = quantised(model)
    scales = scales_of(int8)
    assert len({scales[tensor] for tensor in (first, pooled, shuffled, left, right)}) == 1
    assert decibels(model, int8) > 25


def test_a_clamp_behind_what_only_moves_values_does_not_push_that_into_float() -> None:
    net = Net("N")
    first = conv(net, "input", 3, 8)
    pooled = net.add("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2])
    scales = scales_of(quantised(predicting(net, conv(net, net.add("Relu", pooled), 8, 4), 4)))
    assert scales[pooled] == scales[first]


def test_a_layer_read_by_a_clamp_and_by_another_keeps_what_the_clamp_cuts_off() -> None:
    net = Net("N")
    first = conv(net, "input", 3, 8)
    both = net.add("Concat", net.add("Relu", first), net.add("Sigmoid", first), axis=1)
    model = predicting(net, conv(net, both, 16, 4), 4)
    int8 = quantised(model)
    assert first in scales_of(int8)
    assert kernels(int8)["QLinearConv"] == 2
    assert decibels(model, int8) > 25


def test_the_float_reader_of_a_layer_does_not_break_its_integer_kernel() -> None:
    net = Net("N")
    shared = net.add("Relu", conv(net, "input", 3, 8))
    model = predicting(net, net.add("Concat", conv(net, shared, 8, 4), conv(net, shared, 8, 4), axis=1), 8)
    int8 = quantised(model, [names(model, "Conv")[2]])
    assert kernels(int8)["QLinearConv"] == 2


def test_a_float_layer_between_two_in_int8_computes_in_float() -> None:
    net = Net("N")
    first = net.add("Relu", conv(net, "input", 3, 8))
    model = predicting(net, conv(net, net.add("Relu", conv(net, first, 8, 8)), 8, 4), 4)
    middle = names(model, "Conv")[1]
    int8 = quantised(model, [middle])
    assert kernels(int8)["QLinearConv"] == 2
    weights = {weight.name: weight for weight in int8.graph.initializer}
    (layer,) = (node for node in int8.graph.node if node.name == middle)
    assert weights[layer.input[1]].data_type == onnx.TensorProto.FLOAT


def test_what_lies_between_an_int8_and_a_float_layer_is_float() -> None:
    net = Net("N")
    first = conv(net, "input", 3, 8)
    silu = net.add("Mul", first, net.add("Sigmoid", first))
    pooled = net.add("MaxPool", silu, kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    model = predicting(net, net.add("Concat", silu, pooled, axis=1), 16)
    assert plan_int8(model, head_nodes(model), "all").int8 == {names(model, "Conv")[0]}
    assert scales_of(quantised(model)).keys() == {"input", first}


def test_a_clamp_behind_a_layer_is_int8_even_before_a_float_layer() -> None:
    net = Net("N")
    found = kernels(quantised(predicting(net, net.add("Relu", conv(net, "input", 3, 8)), 8)))
    assert found["QLinearConv"] == 1
    assert "Relu" not in found


def test_the_narrow_scope_leaves_all_but_layers_float() -> None:
    net = Net("N")
    first = conv(net, "input", 3, 8)
    silu = net.add("Mul", first, net.add("Sigmoid", first))
    model = predicting(net, conv(net, silu, 8, 4), 4)
    assert plan_int8(model, head_nodes(model), "conv").int8 == set(names(model, "Conv")[:2])
    found = kernels(quantised(model, scope="conv", target=replace(this_machine(), fuse_silu=False)))
    assert found["QLinearConv"] == 2
    assert not {"QLinearSigmoid", "QLinearMul"} & set(found)


def test_a_symmetric_target_has_no_zero_points_and_float_biases() -> None:
    model = chain("Relu", "Sigmoid")
    int8 = quantised(model, target=TENSORRT)
    values = {weight.name: numpy_helper.to_array(weight) for weight in int8.graph.initializer}
    zeros = [values[name] for name in values if name.endswith("/zero_point")]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert not any(value.dtype == np.int32 for value in values.values())
    assert decibels(model, int8) > 20


def test_a_bias_that_would_not_fit_int32_costs_its_channel_precision_and_nothing_else() -> None:
    net = Net("N")
    weights = net.random.normal(0, 1, (2, 3, 1, 1)).astype(np.float32)
    weights[0] *= 1e-12
    inputs = "input", net.constant(weights), net.constant(np.array([40.0, 0.5], np.float32))
    layer = net.add("Relu", net.add("Conv", *inputs, kernel_shape=[1, 1]))
    identity = net.constant(np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1))
    model = net.model([net.add("Conv", layer, identity, kernel_shape=[1, 1])])
    (found,) = Session(quantised(model)).run(pictures()[0])
    assert np.abs(found[0, 0] - 40).max() < 0.2
    assert decibels(model, quantised(model)) > 25


def test_clipped_ranges_are_used() -> None:
    model = chain("Relu")
    narrow, wide = (scales_of(quantised(model, algorithm=name)) for name in ("percentile-99.99", "minmax"))
    assert all(narrow[tensor] < wide[tensor] for tensor in wide)


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch_still_runs(batch: int) -> None:
    model = chain("Relu")
    stacked = np.concatenate(pictures(batch))
    (found,) = Session(quantised(model)).run(stacked)
    assert found.shape[0] == batch


def test_the_given_model_stays_as_it_is() -> None:
    model = chain("Relu")
    before = model.SerializeToString(deterministic=True)
    int8 = quantised(model)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(int8, full_check=True)
    read = {tensor for node in int8.graph.node for tensor in node.input}
    assert {weight.name for weight in int8.graph.initializer} <= read


def test_nothing_to_quantise_gives_the_float_model() -> None:
    model = chain("Relu")
    everything = {node.name for node in model.graph.node}
    assert watched_tensors(model, everything) == []
    same = quantize(
        model, Ranges({}, 1), algorithm="minmax", float_nodes=everything, scope="all", target=this_machine()
    )
    assert [node.op_type for node in same.graph.node] == [node.op_type for node in model.graph.node]


def test_ranges_of_another_model_are_refused() -> None:
    with pytest.raises(CalibrationError, match="calibrate this very model"):
        quantize(chain(), Ranges({}, 1), algorithm="minmax", float_nodes=set(), scope="all", target=X86_VNNI)


def test_every_tensor_that_may_be_needed_is_watched_whichever_layers_become_float() -> None:
    net = Net("N")
    first = conv(net, "input", 3, 8)
    silu = net.add("Mul", first, net.add("Sigmoid", first))
    pooled = net.add("Relu", net.add("MaxPool", silu, kernel_shape=[1, 1]))
    joined = net.add("Concat", pooled, conv(net, pooled, 8, 8), axis=1)
    model = predicting(net, conv(net, net.add("Transpose", joined, perm=[0, 1, 3, 2]), 16, 4), 4)
    head = head_nodes(model)
    ranges = collect_ranges(model, watched_tensors(model, head), pictures(1))
    for mask in range(8):
        kept = {layer for index, layer in enumerate(layers(model, head)) if mask >> index & 1}
        quantize(model, ranges, algorithm="minmax", float_nodes=head | kept, scope="all", target=TENSORRT)


def test_per_tensor_weights_are_one_number_a_layer() -> None:
    int8 = quantised(chain(), target=replace(X86_VNNI, per_channel=False))
    values = {weight.name: numpy_helper.to_array(weight) for weight in int8.graph.initializer}
    assert all(values[name].shape == () for name in values if name.endswith("/scale"))
