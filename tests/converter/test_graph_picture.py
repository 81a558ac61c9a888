"""The picture of the graph: blocks that people know, each where it belongs, in an SVG that needs nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Dict, List, Sequence, Tuple
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import helper

from converter.model.finish import finish
from converter.model.graph import load_onnx
from converter.model.labels import COCO80
from converter.model.simplify import simplify
from converter.report.blocks import Block, blocks
from converter.report.graph import draw_graph
from converter.report.layout import arranged
from tests.parts.models import Net, yolox

NASTY = "<script>alert(1)</script>\"'&amp; Tür ✓"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(net: Net, *outputs: str) -> Tuple[List[Block], List[Tuple[str, str]]]:
    """The blocks, and the edges by the titles of their ends."""
    found, edges = blocks(net.model(outputs), {})
    return found, [(found[edge.source].title, found[edge.target].title) for edge in edges]


def titles(found: Sequence[Block]) -> List[str]:
    return [block.title for block in found]


def gated(net: Net, tensor: str, *operators: str) -> str:
    """A tensor times a function of itself."""
    other = tensor
    for operator in operators:
        other = net.add(operator, other)
    return net.add("Mul", tensor, other)


def test_a_convolution_and_its_activation_are_one_block() -> None:
    net = Net("N")
    silu = gated(net, net.conv("input", 3, 8, stride=2), "Sigmoid")
    mish = gated(net, net.conv(silu, 8, 8), "Softplus", "Tanh")
    found, edges = drawn(net, net.add("Relu", net.conv(mish, 8, 4)))
    assert titles(found) == ["input", "Conv 2×2 /2 SiLU", "Conv 1×1 Mish", "Conv 1×1 Relu", "t8"]
    assert edges == list(zip(titles(found), titles(found)[1:]))
    assert [block.shape for block in found] == ["3×128×192", "8×64×96", "8×64×96", "4×64×96", "4×64×96"]
    assert len(found[1].nodes) == 3


def test_hard_swish_as_exporters_write_it_is_one_activation() -> None:
    net = Net("N")
    features = net.conv("input", 3, 8)
    three, sixth = net.constant(np.array(3, np.float32)), net.constant(np.array(1 / 6, np.float32))
    zero, six = net.constant(np.array(0, np.float32)), net.constant(np.array(6, np.float32))
    clipped = net.add("Clip", net.add("Add", features, three), zero, six)
    found, _ = drawn(net, net.add("Mul", net.add("Mul", features, sixth), clipped))
    assert titles(found)[1] == "Conv 1×1 HardSwish"


def test_a_skip_connection_is_an_edge_of_its_own() -> None:
    net = Net("N")
    start = net.add("Relu", net.conv("input", 3, 8))
    found, edges = drawn(net, net.add("Add", start, net.conv(net.conv(start, 8, 8), 8, 8)))
    assert titles(found) == ["input", "Conv 1×1 Relu", "Conv 1×1", "Conv 1×1", "Add", "t4"]
    assert ("Conv 1×1 Relu", "Add") in edges
    assert ("Conv 1×1", "Add") in edges


def test_what_is_read_twice_is_not_swallowed() -> None:
    net = Net("N")
    features = net.conv("input", 3, 8)
    found, _ = drawn(net, net.add("Concat", net.add("Sigmoid", features), features, axis=1))
    assert titles(found) == ["input", "Conv 1×1", "Sigmoid", "Concat", "t2"]


def test_shapes_and_weights_are_no_blocks() -> None:
    net = Net("N")
    features = net.conv("input", 3, 8)
    batch = net.add("Gather", net.add("Shape", features), net.constant([0]), axis=0)
    target = net.add("Concat", batch, net.constant([8, 4, -1]), axis=0)
    turned = net.add("Transpose", net.add("Reshape", features, target), perm=[0, 1, 3, 2])
    leaving = helper.make_tensor_value_info(turned, onnx.TensorProto.FLOAT, ["N", 8, "rows", 4])
    graph = helper.make_graph(net.nodes, "g", [net.input], [leaving], net.weights)
    found, _ = blocks(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), {})
    assert titles(found) == ["input", "Conv 1×1", "Reshape Transpose", turned]
    assert found[-1].shape == "8×?×4"


def test_depthwise_convolutions_are_called_so() -> None:
    net = Net("N")
    weights = net.constant(np.zeros((3, 1, 3, 3), np.float32))
    found, _ = drawn(net, net.add("Conv", "input", weights, kernel_shape=[3, 3], group=3))
    assert titles(found)[1] == "Depthwise 3×3"


def test_what_sightd_added_is_three_blocks_in_order() -> None:
    model = simplify(finish(yolox(), labels=["a", "b", "c"]).model)
    found, edges = blocks(model, {node.name: "fp32" for node in model.graph.node})
    ours = [block.title for block in found if block.kind == "sightd"]
    assert ours == ["prepare pixels", "decode yolox", "keep the best"]
    assert titles(found)[-3:] == ["boxes", "scores", "classes"]
    assert all(edge.source < edge.target for edge in edges)


def overlapping(x: Sequence[float], widths: Sequence[float], layers: Sequence[int]) -> List[Tuple[int, int]]:
    return [
        (a, b)
        for a in range(len(x))
        for b in range(a)
        if layers[a] == layers[b] and abs(x[a] - x[b]) < (widths[a] + widths[b]) / 2
    ]


def test_layers_are_longest_paths_and_nothing_overlaps() -> None:
    edges = [(0, 1), (1, 2), (0, 2), (2, 3), (1, 4), (4, 5), (0, 5), (3, 5)]
    widths = [100.0, 80.0, 120.0, 60.0, 200.0, 90.0]
    layout = arranged(widths, edges, gap=10)
    assert layout.layers == [0, 1, 2, 3, 2, 4]
    assert overlapping(layout.x, widths, layout.layers) == []
    assert [layer for layer, _ in layout.bends[(0, 5)]] == [1, 2, 3]
    assert layout.bends[(0, 1)] == []
    assert min(x - width / 2 for x, width in zip(layout.x, widths)) >= -1e-6
    assert max(x + width / 2 for x, width in zip(layout.x, widths)) <= layout.width + 1e-6


def test_a_chain_is_straight_and_crossings_are_undone() -> None:
    layout = arranged([50.0] * 4, [(0, 1), (1, 2), (2, 3)], gap=10)
    assert len(set(layout.x)) == 1
    crossed = arranged([50.0] * 6, [(0, 1), (0, 2), (1, 4), (2, 3), (3, 5), (4, 5)], gap=10)
    assert (crossed.x[1] < crossed.x[2]) == (crossed.x[4] < crossed.x[3])


def test_edges_that_lead_back_do_not_hang() -> None:
    assert arranged([50.0] * 3, [(0, 1), (1, 2), (2, 1)], gap=10).layers == [0, 1, 2]


def test_thousands_of_blocks_take_no_time() -> None:
    count = 3000
    edges = [(place, place + 1) for place in range(count - 1)]
    edges += [(place, place + 7) for place in range(0, count - 7, 3)]
    started = time.monotonic()
    arranged([100.0] * count, edges, gap=10)
    assert time.monotonic() - started < 20  # seconds would mean a square of it


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def test_the_svg_is_whole_and_loads_nothing() -> None:
    net = Net("N")
    model = net.model([net.add("Add", net.conv("input", 3, 8), net.conv(net.conv("input", 3, 8), 8, 8))])
    precisions: Dict[str, str] = {"Conv_0": "int8", "Conv_1": "fp16", "Conv_2": "fp32", "Add_3": "fp32"}
    svg = draw_graph(model, precisions, "yard.onnx")
    root = parsed(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert float(root.get("width", "0")) <= 1280
    names = {element.tag.replace(SVG, "") for element in root.iter()}
    assert names <= {"svg", "title", "style", "rect", "text", "g", "path"}
    assert not re.search(r"@import|url\(|href|on\w+=", svg)
    shown = [element.text for element in root.iter(f"{SVG}text")]
    assert shown[0] == "yard.onnx: 1 INT8, 1 FP16, 2 FP32"
    assert [text for text in shown if text in ("INT8", "FP16", "FP32")] == ["INT8", "FP16", "FP32", "FP32"]
    assert "8×128×192" in shown
    tips = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert "Conv 1×1 INT8 8×128×192\nConv_0" in tips
    assert sum("g-skip" in (path.get("class") or "") for path in root.iter(f"{SVG}path")) == 2  # the legend's, and one


def test_names_out_of_the_model_are_text() -> None:
    node = helper.make_node("Relu", [NASTY], ["y<b>"], name=NASTY)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(NASTY, onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y<b>", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
    )
    svg = draw_graph(helper.make_model(graph), {NASTY: "fp32"}, NASTY)
    assert "<script" not in svg
    assert "<b>" not in svg
    texts = "".join(parsed(svg).itertext())
    assert texts.count(NASTY) >= 3


def test_characters_that_no_xml_holds_are_replaced() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="a\x00\x1bb")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3, 8, 8]) for name in ("x", "y")]
    svg = draw_graph(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:])), {}, "\udcff.onnx")
    assert "a\ufffd\ufffdb" in "".join(parsed(svg).itertext())
    assert svg.encode()


@pytest.mark.parametrize("file", ["yolox_nano/yolox_nano.onnx", "fastestdet/FastestDet.onnx"])
def test_a_real_detector_is_readable_and_quick(assets: Path, file: str) -> None:
    model = simplify(finish(load_onnx(assets / "models" / file), labels=COCO80).model)
    started = time.monotonic()
    svg = draw_graph(model, {node.name: "int8" for node in model.graph.node}, file)
    assert time.monotonic() - started < 2
    found, _ = blocks(model, {})
    assert len(found) < len(model.graph.node) * 0.6
    assert float(parsed(svg).get("width", "0")) <= 1280
    assert sum(block.kind == "convolution" for block in found) > 40
