"""First layers that INT8 slows down; how slow is the machine's affair, so the clock is a fake but for one test."""

from __future__ import annotations

from typing import List

import onnx
import pytest

from converter.int8 import layer_speed
from converter.int8.layer_speed import slow_first_layers
from converter.int8.plan import layers
from tests.parts.int8 import conv
from tests.parts.models import Net


def two_stems() -> onnx.ModelProto:
    net = Net("N")
    left, right = (net.add("Relu", conv(net, "input", 3, 8)) for _ in range(2))
    return net.model([conv(net, net.add("Relu", conv(net, net.add("Add", left, right), 8, 8)), 8, 4)])


def timed(monkeypatch: pytest.MonkeyPatch, slow: List[str]) -> None:
    monkeypatch.setattr(layer_speed, "_times", lambda node, *shapes: (1.0, 2.0 if node.name in slow else 0.5))


def test_only_layers_without_another_before_them_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_stems()
    found = layers(model, set())
    timed(monkeypatch, found)
    assert slow_first_layers(model, found) == set(found[:2])
    timed(monkeypatch, found[1:])
    assert slow_first_layers(model, found) == {found[1]}
    timed(monkeypatch, [])
    assert slow_first_layers(model, found) == set()


def test_layers_that_are_no_candidates_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_stems()
    found = layers(model, set())
    timed(monkeypatch, found)
    assert slow_first_layers(model, found[1:]) == {found[1]}


def test_a_layer_is_really_timed() -> None:
    model = two_stems()
    shapes = layer_speed._shapes(model)
    node = next(node for node in model.graph.node if node.op_type == "Conv" and node.input[0] in shapes)
    floats, integers = layer_speed._times(node, (8, 3, 3, 3), shapes[node.input[0]])
    assert 0 < floats < 1
    assert 0 < integers < 1
