"""Freeing a model's batch: what tracers freeze is found, and what still leaks is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List, Optional

import numpy as np
import onnx
import pytest

from converter.model.batch import agrees, run_singly, symbolic_batch
from converter.model.graph import describe, load_onnx, normalise
from sightd.errors import ModelError
from tests.parts.models import HEIGHT, WIDTH, Batch, Net, centernet_distances, yolox

ROWS, COLUMNS = HEIGHT // 8, WIDTH // 8


def freed(model: onnx.ModelProto) -> Optional[onnx.ModelProto]:
    samples = np.random.default_rng(0).random((3, 3, HEIGHT, WIDTH), np.float32) * 255
    return symbolic_batch(normalise(model), samples, run_singly(model, samples))


def reshaped(*shapes: List[int]) -> Callable[[Batch], onnx.ModelProto]:
    def build(batch: Batch) -> onnx.ModelProto:
        net = Net(batch)
        tensor = net.backbone("input")
        for shape in shapes:
            tensor = net.add("Reshape", tensor, net.constant(shape))
        return net.model([tensor])

    return build


def channel_shuffle(batch: Batch) -> onnx.ModelProto:
    """ShuffleNet's, as torch traces it: the batch is multiplied into the first dimension, then in the middle."""
    net = Net(batch)
    pairs = net.add("Reshape", net.backbone("input"), net.constant([4, 2, ROWS * COLUMNS]))
    split = net.add("Reshape", net.add("Transpose", pairs, perm=[1, 0, 2]), net.constant([2, -1, 4, ROWS, COLUMNS]))
    return net.model([net.add("Gather", split, net.constant(np.array(1, np.int64)), axis=0)])


def resized(batch: Batch) -> onnx.ModelProto:
    """Upsampling to constant sizes, the batch among them, and more to free before and behind it."""
    net = Net(batch)
    empty = net.constant(np.zeros(0, np.float32))
    sizes = net.constant([1, 8, ROWS * 2, COLUMNS * 2])
    features = net.add("Reshape", net.backbone("input"), net.constant([1, 8, ROWS, COLUMNS]))
    larger = net.add("Resize", features, empty, empty, sizes, mode="nearest")
    return net.model([net.add("Reshape", larger, net.constant([1, 8, -1]))])


def expanded(batch: Batch) -> onnx.ModelProto:
    """A constant shape in Expand broadcasts over any batch."""
    net = Net(batch)
    pooled = net.add("GlobalAveragePool", net.backbone("input"))
    return net.model([net.add("Expand", pooled, net.constant([1, 8, ROWS, COLUMNS]))])


def halved(batch: Batch) -> onnx.ModelProto:
    """Torch's chunk() as it is traced: where the half ends is computed, and shape inference knows no division."""
    net = Net(batch)
    features = net.backbone("input")
    channels = net.add("Gather", net.add("Shape", features), net.constant([1]), axis=0)
    half = net.add("Slice", features, net.constant([0]), net.add("Div", channels, net.constant([2])), net.constant([1]))
    return net.model([net.add("Reshape", half, net.constant([1, 4, -1]))])


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize(
    "build",
    [
        reshaped([1, 8, -1]),
        reshaped([1, 8, ROWS * COLUMNS]),
        reshaped([1, -1, COLUMNS], [1, 8, ROWS, COLUMNS]),
        reshaped([8, ROWS, COLUMNS], [1, 8, -1]),
        channel_shuffle,
        resized,
        expanded,
        halved,
        yolox,
    ],
)
def test_constants_that_hold_the_batch_are_freed(build: Callable[[Batch], onnx.ModelProto], batch: Batch) -> None:
    model = freed(build(batch) if batch == 1 else frozen(build(1)))
    assert model is not None
    assert describe(model.graph.input[0]).shape[0] is None
    assert describe(model.graph.output[0]).shape[0] is None


def frozen(model: onnx.ModelProto) -> onnx.ModelProto:
    """The batch declared dynamic, but what was traced left as it is: torch's dynamic_axes on a careless forward."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    return model


def test_a_model_with_a_working_dynamic_batch_is_left_alone() -> None:
    model = normalise(yolox("N"))
    after = freed(yolox("N"))
    assert after is not None
    assert [node.SerializeToString() for node in after.graph.node] == [
        node.SerializeToString() for node in model.graph.node
    ]


@pytest.mark.parametrize("batch", [1, "N"])
def test_pictures_that_change_each_other_are_noticed(batch: Batch) -> None:
    net = Net(batch)
    features = net.backbone("input")
    assert freed(net.model([net.add("Sub", features, net.add("ReduceMax", features, axes=[0], keepdims=1))])) is None


def test_a_state_added_for_one_picture_only_is_noticed() -> None:
    net = Net(1)
    ones = net.constant(np.ones((1, 8, 1, COLUMNS), np.float32))
    assert freed(net.model([net.add("Concat", net.backbone("input"), ones, axis=2)])) is None


def test_a_batch_fixed_at_more_than_one_is_freed() -> None:
    net = Net(4)
    model = freed(net.model([net.add("Reshape", net.backbone("input"), net.constant([4, 8, -1]))]))
    assert model is not None


def test_an_output_without_a_batch_is_an_error() -> None:
    net = Net(1)
    features = net.backbone("input")
    with pytest.raises(ModelError, match="no output a picture"):
        freed(net.model([net.add("Squeeze", features, net.constant([0]))]))


def test_values_that_are_no_number_agree_with_themselves() -> None:
    net = Net("N")
    negative = net.add("Sub", net.constant(np.array(-1, np.float32)), net.backbone("input"))
    model = net.model([net.add("Sqrt", negative)])
    samples = np.ones((2, 3, HEIGHT, WIDTH), np.float32)
    expected = run_singly(model, samples)
    assert np.isnan(expected[0]).all()
    assert agrees(model, samples, expected)
    assert not agrees(model, samples, [np.zeros_like(expected[0])])


def test_a_few_classes_may_flip_but_not_many() -> None:
    net = Net("N")
    model = net.model([net.add("ArgMax", net.backbone("input"), output="int_classes", axis=1)])
    samples = np.random.default_rng(0).random((2, 3, HEIGHT, WIDTH), np.float32) * 255
    (classes,) = run_singly(model, samples)
    flipped = classes.copy()
    flipped.flat[:5] += 1
    assert agrees(model, samples, [flipped])
    assert not agrees(model, samples, [classes + 1])


def test_scores_beside_large_boxes_are_compared_closely() -> None:
    model = centernet_distances("N")
    samples = np.random.default_rng(0).random((2, HEIGHT, WIDTH, 3), np.float32) * 255
    sides, heat = run_singly(model, samples)
    assert agrees(model, samples, [sides, heat])
    assert not agrees(model, samples, [sides, heat + 0.01])


@pytest.mark.parametrize("file", ["yolox_nano/yolox_nano.onnx", "fastestdet/FastestDet.onnx"])
def test_real_models_traced_at_batch_one_are_freed(assets: Path, file: str) -> None:
    model = load_onnx(assets / "models" / file)
    shape = [dim or 1 for dim in describe(model.graph.input[0]).shape]
    samples = np.random.default_rng(0).random((4, *shape[1:]), np.float32) * 255
    assert symbolic_batch(normalise(model), samples, run_singly(model, samples)) is not None
