"""From cameras to detections with a real detector: captured, converted, served, and judged by what was drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import msgspec
import numpy as np
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from converter.agreement.average_precision import AveragePrecision
from converter.agreement.ground_truth import read_ground_truth
from converter.agreement.labelled import label_precision
from converter.builders.onnxruntime import KIND
from converter.model.finish import finish
from converter.model.graph import load_onnx
from converter.progress import Silent
from daemon.messages import InfoMessage
from sightd.bundle import Bundle, open_bundle
from sightd.calibration_entries import read_entries, read_image
from sightd.resize import resize_into
from sightd.types import Image, InputSpec
from tests.parts.broker import collect, running_broker
from tests.parts.daemon import command, running_daemon
from tests.parts.int8 import write_float
from tests.shapes.detector import MODEL
from tests.shapes.drawing import LABELS
from tests.shapes.published import against_truth, published
from tests.shapes.scene import Scene
from tests.shapes.writing import write_clip, write_labelled

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("shapes")]

#: Four views: seed, width and height in pixels.
VIEWS = ((200, 640, 360), (201, 640, 360), (202, 480, 360), (203, 360, 640))
#: A picture each quarter of a second.
FPS, FRAMES = 4, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds frames that `sightd capture` took of the clips, and labelled pictures of other scenes."""
    place = tmp_path_factory.mktemp("shapes")
    cameras = ""
    for seed, width, height in VIEWS:
        write_clip(place / f"cam{seed}.mp4", Scene(seed, width, height, FPS), FRAMES)
        cameras += f"  cam{seed}: {{url: cam{seed}.mp4, pace: fast, loop: false}}\n"
    (place / "sightd.yaml").write_text(f"calibration: {{folder: set}}\ncameras:\n{cameras}")
    asked = ["--fps", str(FPS), "--frames", str(FRAMES * len(VIEWS)), "--minutes", "1"]
    run("capture", "--config", str(place / "sightd.yaml"), *asked)
    write_labelled(place / "labelled", range(80))
    return place


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    """Of the first recipe, whose prediction layers are float: which of several is the fastest is the clock's affair."""
    arguments = ["--calibration", str(folder / "set"), "--out", str(folder / "bundle"), "--max-trials", "1"]
    run("convert", str(MODEL), *arguments, "--truth", str(folder / "labelled" / "instances.json"))
    return open_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def agreement(bundle: Bundle) -> Dict[str, Any]:
    told: Dict[str, Any] = json.loads((bundle.folder / "manifest.json").read_text())["agreement"]
    return told


def test_int8_of_frames_from_the_cameras_agrees_and_is_as_good_by_the_truth(agreement: Dict[str, Any]) -> None:
    assert agreement["outcome"] in ("int8", "slower")  # which of the two is the machine's affair
    exact, int8 = agreement["labelled"]["float"], agreement["labelled"]["int8"]
    assert exact["ap"] >= 0.78
    assert int8["ap"] >= exact["ap"] - 0.01
    assert int8["ap50"] >= exact["ap50"] - 0.01


def test_every_layer_in_int8_ruins_it(bundle: Bundle, folder: Path, agreement: Dict[str, Any], tmp_path: Path) -> None:
    """The boxes, up to 160, and the scores, up to 1, leave the model in one tensor: they would share a scale."""
    ruined = precision(bundle, naive(folder, tmp_path / "naive.onnx"), folder)
    assert ruined.ap < agreement["labelled"]["float"]["ap"] - 0.1


def test_the_daemon_finds_with_the_bundle_what_was_drawn(bundle: Bundle, tmp_path: Path) -> None:
    """On views that the calibration has not seen."""
    cameras = ""
    for name, scene in {"yard": (22, 640, 360), "gate": (26, 360, 480)}.items():
        write_clip(tmp_path / f"{name}.mp4", Scene(*scene), 100)
        cameras += f"  {name}: {{url: {name}.mp4, pace: fast, loop: false, max_fps: 0}}\n"
    shutil.copytree(bundle.folder, tmp_path / "bundle")  # a link out of the folder is refused
    (tmp_path / "broker").mkdir()
    with running_broker(tmp_path / "broker") as broker, collect(broker) as seen:
        with running_daemon(tmp_path, f"node: box\nmqtt: {{port: {broker.port}}}\ncameras:\n{cameras}"):
            seen.wait_until(lambda c: min(len(published(c, name)) for name in ("yard", "gate")) == 100, 60)
            seen.wait_until(lambda c: "sightd/box/info" in c.newest)
        info = msgspec.json.decode(seen.newest["sightd/box/info"], type=InfoMessage)
    assert (info.labels, info.engine.precision) == (list(LABELS), bundle.manifest.engine.precision)
    for name in ("yard", "gate"):
        messages = published(seen, name)
        measured = against_truth(tmp_path / f"{name}.mp4", messages)
        assert measured.recall >= 0.95, measured
        assert measured.precision >= 0.95, measured
        assert measured.iou >= 0.85, measured


def naive(folder: Path, file: Path) -> Path:
    """INT8 as it is done when nobody looks: ONNX Runtime's own quantize_static, predictions and decoding too."""
    finished = finish(load_onnx(MODEL))
    whole = file.with_name("whole.onnx")
    write_float(finished.model, whole)
    entries = read_entries(folder / "set")[::8]
    pictures = (read_image(folder / "set", entry) for entry in entries)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(whole, file, Inputs(pictures, finished.spec), per_channel=True, **kinds)
    return file


class Inputs(CalibrationDataReader):  # type: ignore[misc]
    """Pictures as the finished graph takes them."""

    def __init__(self, pictures: Iterator[Image], spec: InputSpec) -> None:
        self._pictures, self._spec = pictures, spec

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        image = next(self._pictures, None)
        if image is None:
            return None
        pixels = np.empty((1, self._spec.height, self._spec.width, 3), np.uint8)
        resize_into(pixels[0], image, self._spec)
        return {"images": pixels}


def precision(bundle: Bundle, file: Path, folder: Path) -> AveragePrecision:
    truth = read_ground_truth(folder / "labelled" / "instances.json", LABELS)
    return label_precision(truth, KIND, file, bundle.manifest.input, bundle.manifest.output, Silent())


def run(*arguments: str) -> None:
    """A `sightd` command that has to end well."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
