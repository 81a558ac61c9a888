"""Ranges on disk: all of them come back, and those of anything else are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from converter.int8.clipping import ALGORITHMS
from converter.int8.ranges import Ranges, collect_ranges
from converter.int8.ranges_file import load_ranges, ranges_key, save_ranges
from sightd.errors import CalibrationError
from sightd.types import InputSpec
from tests.parts.models import HEIGHT, WIDTH, Net

RANDOM = np.random.default_rng(9)
SPEC = InputSpec(WIDTH, HEIGHT)


def model(channels: int = 4) -> onnx.ModelProto:
    net = Net("N")
    return net.model([net.conv(net.backbone("input"), 8, channels)])


def measured() -> Ranges:
    frames = [RANDOM.normal(0, spread, (1, 3, HEIGHT, WIDTH)).astype(np.float32) for spread in (1, 50, 7)]
    made = model()
    return collect_ranges(made, [node.output[0] for node in made.graph.node], frames)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    ranges = measured()
    save_ranges(tmp_path / "ranges.npz", ranges, "key")
    found = load_ranges(tmp_path / "ranges.npz", "key")
    assert list(found.histograms) == list(ranges.histograms)
    assert found.frames == 3
    assert np.array_equal(found.maxima, ranges.maxima)
    for tensor in ranges.histograms:
        for algorithm in ALGORITHMS:
            assert found.bounds(tensor, algorithm) == ranges.bounds(tensor, algorithm)


def test_the_file_is_small(tmp_path: Path) -> None:
    ranges = measured()
    save_ranges(tmp_path / "ranges.npz", ranges, "key")
    assert (tmp_path / "ranges.npz").stat().st_size < 10_000 * len(ranges.histograms) + 5_000


def test_ranges_of_something_else_are_refused(tmp_path: Path) -> None:
    save_ranges(tmp_path / "ranges.npz", measured(), ranges_key(model(), "frames", SPEC))
    load_ranges(tmp_path / "ranges.npz", ranges_key(model(), "frames", SPEC))
    others = [
        ranges_key(model(5), "frames", SPEC),
        ranges_key(model(), "other frames", SPEC),
        ranges_key(model(), "frames", replace(SPEC, channel_order="rgb")),
    ]
    for key in others:
        with pytest.raises(CalibrationError, match="another model, other frames or another input"):
            load_ranges(tmp_path / "ranges.npz", key)


@pytest.mark.parametrize("content", [b"", b"no ranges", None])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ranges.npz"
    save_ranges(path, measured(), "key")
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(CalibrationError, match="calibrate again"):
        load_ranges(path, "key")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="calibrate again"):
        load_ranges(tmp_path / "none.npz", "key")
