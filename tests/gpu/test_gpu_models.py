"""Real detectors on a real GPU, where the assets are there: each precision beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List

import cv2
import numpy as np
import pytest

from converter.model.finish import finish
from converter.model.graph import load_onnx
from converter.model.labels import read_labels
from sightd.types import Detections
from tests.parts.gpu_rig import PROFILE, Rig

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

MODELS = {
    "yolox_nano": "yolox_nano/yolox_nano.onnx",
    "fastestdet": "fastestdet/FastestDet.onnx",
    "centernet": "centernet_mbv3/centernet_mbv3_512.onnx",
}
#: YOLOX-nano is blind without: its depthwise layers do not bear one scale for all channels.
_FLOAT_LAYERS = 16
#: The share of ONNX Runtime's boxes that must be found again with an IoU of 0.5. Scores near the threshold flip in any
#: build; INT8 with one recipe for all is for the gate to judge, here it must only not be blind.
FOUND_AGAIN = {"fp32": 0.99, "fp16": 0.97, "int8-minmax": 0.5}


@pytest.fixture(scope="module", params=list(MODELS))
def rig(request: pytest.FixtureRequest, gpu: str, assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    model = load_onnx(assets / "models" / MODELS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    calibration = read(assets / "images" / "calib_coco_train80", 48)
    pictures = read(assets / "images" / "coco_val_dev100" / "images", 24)
    return Rig(model, finish(model, labels=read_labels("coco80")), folder, calibration, pictures, _FLOAT_LAYERS)


@pytest.mark.parametrize("name", FOUND_AGAIN)
def test_a_real_detector_finds_what_onnx_runtime_does(rig: Rig, name: str, record: Callable[[str, Any], None]) -> None:
    with rig.reference() as reference:
        wanted = rig.found(reference, 1)
    found = {}
    with rig.open(rig.plan(name)) as engine:
        for batch in (1, PROFILE.opt, PROFILE.max):
            found[batch] = share_found_again(wanted, rig.found(engine, batch))
    built = rig.built[name]
    record(f"{rig.folder.name}-{name}", {"found_again": found, "layers": dict(built.layers), "seconds": built.seconds})
    assert sum(map(len, wanted)) > 20
    assert min(found.values()) >= FOUND_AGAIN[name]


def share_found_again(wanted: List[Detections], got: List[Detections]) -> float:
    again = 0
    for truth, found in zip(wanted, got):
        for box, kind in zip(truth.boxes, truth.classes):
            same = found.boxes[found.classes == kind]
            again += int(len(same) > 0 and iou(box, same).max() >= 0.5)
    return again / sum(map(len, wanted))


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inside = sides.clip(0).prod(axis=1)
    shares: np.ndarray = inside / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - inside)
    return shares


def read(folder: Path, count: int) -> List[np.ndarray]:
    return [np.asarray(cv2.imread(str(file)), np.uint8) for file in sorted(folder.glob("*.jpg"))[:count]]
