"""Later opsets brought down to 17: what ONNX Runtime computes stays, what has no equal is named."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
import onnx
import pytest

from converter.model.finish import finish
from converter.model.graph import normalise, opset_of
from converter.model.lower import lower
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.models import HEIGHT, WIDTH, Net, yolox

SAMPLE = np.random.default_rng(0).random((2, 3, HEIGHT, WIDTH), np.float32) * 255

Build = Callable[[Net, str], Sequence[str]]


def floats(*values: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.float32)


def split(**given: Any) -> Build:
    def build(net: Net, tensor: str) -> Sequence[str]:
        names = [f"part{place}" for place in range(given["num_outputs"])]
        net.nodes.append(onnx.helper.make_node("Split", [tensor], names, name="split", **given))
        return names

    return build


CASES = {
    "even split": split(num_outputs=2, axis=1),
    "uneven split": split(num_outputs=3, axis=1),
    "uneven split from the end": split(num_outputs=5, axis=-1),
    "sized split": lambda net, tensor: [net.add("Split", tensor, net.constant([8]), axis=1)],
    "mean": lambda net, tensor: [net.add("ReduceMean", tensor, net.constant([2, 3]), keepdims=0)],
    "largest of all": lambda net, tensor: [net.add("ReduceMax", tensor, noop_with_empty_axes=0)],
    "pad": lambda net, tensor: [net.add("Pad", tensor, net.constant([0, 0, 1, 2, 0, 0, 3, 4]))],
    "pad by axes": lambda net, tensor: [
        net.add("Pad", tensor, net.constant([1, 2, 3, 4]), net.constant(np.array(7, np.float32)), net.constant([-1, 2]))
    ],
    "resize": lambda net, tensor: [
        net.add("Resize", tensor, "", net.constant(floats(1, 1, 2, 2)), mode="nearest", antialias=0)
    ],
    "cast": lambda net, tensor: [net.add("Cast", tensor, to=onnx.TensorProto.FLOAT, saturate=1)],
    "reshape": lambda net, tensor: [net.add("Reshape", tensor, net.constant([0, 8, -1]), allowzero=0)],
}


def made(build: Build, opset: int) -> onnx.ModelProto:
    net = Net("N", opset=opset)
    return net.model(build(net, net.backbone("input")))


@pytest.mark.parametrize("opset", [18, 19, 21])
@pytest.mark.parametrize("case", CASES)
def test_what_is_computed_stays(case: str, opset: int) -> None:
    if case == "cast" and opset == 18:
        pytest.skip("Cast had no saturate yet")
    model = made(CASES[case], opset)
    lowered = lower(model, opset, 17)
    onnx.checker.check_model(lowered)
    assert (opset_of(lowered), opset_of(model)) == (17, opset)
    for found, truth in zip(Session(lowered).run(SAMPLE), Session(model).run(SAMPLE)):
        np.testing.assert_array_equal(found, truth)


def test_modes_of_grid_sample_got_other_names() -> None:
    def build(net: Net, tensor: str) -> Sequence[str]:
        return [net.add("GridSample", tensor, net.constant(np.zeros((2, 4, 5, 2), np.float32)), mode="linear")]

    lowered = lower(made(build, 20), 20, 17)
    np.testing.assert_array_equal(Session(lowered).run(SAMPLE)[0], Session(made(build, 20)).run(SAMPLE)[0])


@pytest.mark.parametrize(
    ("opset", "build", "operator"),
    [
        (18, lambda net, tensor: [net.add("Mish", tensor)], "Mish"),
        (20, lambda net, tensor: [net.add("Gelu", tensor)], "Gelu"),
        (
            19,
            lambda net, tensor: [net.add("AveragePool", tensor, kernel_shape=[2, 2], dilations=[2, 2])],
            "AveragePool",
        ),
    ],
)
def test_what_has_no_equal_is_named(opset: int, build: Build, operator: str) -> None:
    message = rf"opset {opset} and can't be converted to 17, which has no {operator} as node '{operator}_\d' uses it"
    with pytest.raises(ModelError, match=message):
        normalise(made(build, opset))


@pytest.mark.parametrize("opset", [18, 20, 21])
def test_a_whole_detector_of_a_later_opset_is_finished(opset: int) -> None:
    done = finish(yolox("N", opset=opset), labels=["a", "b", "c"])
    assert opset_of(done.model) == 17
    assert done.max_batch > 1
