"""Every YOLO layout, finished and in explicit INT8, is built by TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import pytest

from converter.builders.tensorrt_order import Finished, Message, Order, TensorRtOptions
from converter.builders.tensorrt_process import run_worker
from converter.int8.emit import emit
from converter.int8.targets import TENSORRT
from converter.model.finish import finish
from converter.search import Recipe
from sightd.manifest import Profile
from tests.parts.calibrated import calibrated
from tests.parts.models import HEIGHT, WIDTH
from tests.parts.yolo_models import YOLO_VARIANTS, make_yolo

pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX: pip install -r tests/requirements.txt")


@pytest.mark.slow
@pytest.mark.parametrize("variant", YOLO_VARIANTS)
def test_a_layout_builds_with_its_body_in_int8(variant: str, tmp_path: Path) -> None:
    pictures = list(np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8))
    made = calibrated(finish(make_yolo(variant), labels=["a", "b", "c"]), pictures)
    graph = emit(made.model, made.calibration.ranges, Recipe("mse", "conv", 0), TENSORRT, made.head)
    (tmp_path / "graph.onnx").write_bytes(graph.SerializeToString())
    heard: List[Message] = []
    run_worker(_order(tmp_path), tmp_path, iter(()), heard.append)
    finished = heard[-1]
    assert isinstance(finished, Finished)
    assert finished.layers["int8"] >= 3
    assert finished.layers["fp32"] >= 3  # the prediction layers


def _order(folder: Path) -> Order:
    return Order(
        TensorRtOptions(module="tensorrt_rtx_bindings", compute_capability="8.6"),
        onnx=str(folder / "graph.onnx"),
        plan=str(folder / "engine.plan"),
        precision="int8",
        profile=Profile(min=1, opt=4, max=8),
        typed=True,
        timing_cache=str(folder / "timing.cache"),
    )
