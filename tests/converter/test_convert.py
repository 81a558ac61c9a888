"""The whole conversion of a tiny real detector, and what becomes of wrong input."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Set

import cv2
import numpy as np
import pytest

from converter.agreement.measure import detect
from converter.convert import convert
from converter.int8.ranges import Ranges
from converter.progress import Silent
from converter.request import Request
from converter.verdict import Outcome
from sightd.bundle import open_bundle
from sightd.engines import EngineOptions, open_engine
from sightd.errors import BundleError, CalibrationError, ModelError
from sightd.manifest import OutputSpec
from sightd.types import Image
from tests.parts.blobs import LABELS, blob_detector, blob_picture, write_blob_pictures
from tests.parts.blobs_yolov8 import blob_yolov8
from tests.parts.daemon import command
from tests.parts.families import make_family_model
from tests.parts.models import Net


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 100)


@pytest.fixture
def request_(tmp_path: Path, pictures: Path) -> Request:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    model = blob_detector(tmp_path / "blobs.onnx")
    return Request(model, pictures, tmp_path / "bundle", labels=str(labels))


def found_by(folder: Path, seeds: range) -> List[Any]:
    with open_engine(open_bundle(folder), EngineOptions()) as engine:
        return detect(engine, [blob_picture(seed) for seed in seeds], OutputSpec(), 0.3, batch=4)


def test_int8_of_a_real_detector_agrees_and_the_bundle_detects(request_: Request) -> None:
    result = convert(request_, Silent())
    assert result.verdict.outcome in (Outcome.INT8, Outcome.SLOWER)  # which of the two is the machine's affair
    trial = result.verdict.trial
    assert trial is not None
    assert trial.agreement.recall > 0.99
    assert trial.agreement.evidence >= 200
    unseen = range(1000, 1008)
    assert [len(found) for found in found_by(request_.out, unseen)] == [5] * 8


def test_the_manifest_tells_the_whole_story_and_the_picture_is_there(request_: Request) -> None:
    convert(request_, Silent())
    manifest = json.loads((request_.out / "manifest.json").read_text())
    assert manifest["labels"] == LABELS
    assert manifest["head"] == "centernet"
    assert manifest["input"]["channel_order"] == "rgb"
    assert manifest["model"]["name"] == "blobs.onnx"
    assert manifest["agreement"]["trials"][0]["verdict"] == "agrees"
    assert manifest["latency"]["float"]["1"]["p50_ms"] > 0
    assert manifest["build"]["seconds"] > 0
    assert cv2.imread(str(request_.out / "annotated.jpg")).shape == (96, 96, 3)
    assert not list(request_.out.parent.glob(".sightd-convert-*"))


def test_a_model_that_finds_each_object_once_gets_no_nms_on_the_host(request_: Request, tmp_path: Path) -> None:
    assert convert(replace(request_, max_trials=1), Silent()).bundle.manifest.output.nms_iou == 0.45
    path, labels = tmp_path / "detr.onnx", tmp_path / "three.txt"
    path.write_bytes(make_family_model("detr").SerializeToString())
    labels.write_text("a\nb\nc")
    detr = replace(request_, model=path, labels=str(labels), out=tmp_path / "detr", max_trials=1)
    manifest = convert(detr, Silent()).bundle.manifest
    assert (manifest.head, manifest.output.nms_iou, manifest.output.candidates) == ("detr", 1.0, 100)


def test_a_dead_detector_is_never_called_agreeing(request_: Request, tmp_path: Path) -> None:
    dead = blob_detector(tmp_path / "dead.onnx", dead=True)
    result = convert(replace(request_, model=dead), Silent())
    assert result.verdict.outcome is Outcome.UNPROVEN
    assert result.bundle.manifest.engine.precision == "fp32"
    assert "0 reference boxes" in result.verdict.sentence


def test_ruined_int8_is_refused_float_is_shipped_and_it_says_how_close_it_came(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranges, "bounds", lambda self, *wanted: (0.0, 1e-3))  # every activation clipped
    result = convert(request_, Silent())
    assert result.verdict.outcome is Outcome.DISAGREES
    assert "The closest of" in result.verdict.sentence
    assert "recall" in result.verdict.sentence
    assert result.bundle.manifest.engine.precision == "fp32"
    assert [len(found) for found in found_by(request_.out, range(1000, 1004))] == [5] * 4


def test_too_few_boxes_to_judge_by_ship_float(request_: Request, tmp_path: Path) -> None:
    few = write_blob_pictures(tmp_path / "few", 12)
    result = convert(replace(request_, calibration=few), Silent())
    assert result.verdict.outcome is Outcome.UNPROVEN
    assert "capture busier or more frames" in result.verdict.sentence


def test_an_empty_calibration_set_is_an_error_that_says_what_to_do(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match="sightd capture"):
        convert(replace(request_, calibration=tmp_path / "empty"), Silent())


def test_an_unknown_layout_is_an_error_that_lists_what_is_supported(request_: Request, tmp_path: Path) -> None:
    path = tmp_path / "unknown.onnx"
    net = Net("N")
    path.write_bytes(net.model([net.conv(net.backbone("input"), 8, 3)]).SerializeToString())
    with pytest.raises(ModelError, match=r"(?s)yolox.*centernet.*boxes-scores"):
        convert(replace(request_, model=path), Silent())


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07" + b"\xff" * 100])
def test_a_file_that_is_no_model_is_an_error(request_: Request, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"junk\.onnx"):
        convert(replace(request_, model=path), Silent())


@pytest.mark.parametrize("name", ["model", "calibration"])
def test_a_name_that_is_no_utf_8_is_told_before_any_work(request_: Request, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"its name is no UTF-8.* rename it"):
        convert(replace(request_, **{name: tmp_path / "T\udcfcr.onnx"}), Silent())
    assert not request_.out.exists()


def test_the_wrong_number_of_labels_is_an_error(request_: Request) -> None:
    with pytest.raises(ModelError, match="80 class names for a model of 2"):
        convert(replace(request_, labels="coco80"), Silent())


def test_a_place_that_can_not_be_written_is_an_error(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="can't be written"):
        convert(replace(request_, out=tmp_path / "file" / "bundle"), Silent())
    with pytest.raises(BundleError, match="is a file, and a bundle is a folder"):
        convert(replace(request_, out=tmp_path / "file"), Silent())


def test_a_folder_of_other_things_is_left_alone(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("years")
    with pytest.raises(BundleError, match="holds other files and no bundle; name an empty folder"):
        convert(replace(request_, out=tmp_path / "mine"), Silent())
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.doc"]


def test_the_command_line_ends_with_3_when_float_had_to_be_shipped(request_: Request, tmp_path: Path) -> None:
    dead = blob_detector(tmp_path / "dead.onnx", dead=True)
    arguments = ["--calibration", str(request_.calibration), "--out", str(request_.out), "--labels", request_.labels]
    done = subprocess.run(command("convert", str(dead), *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "FLOAT SHIPPED" in done.stderr
    assert open_bundle(request_.out).manifest.engine.precision == "fp32"


def test_the_command_line_reports_the_verdict_and_where_the_picture_is(request_: Request) -> None:
    arguments = ["--calibration", str(request_.calibration), "--out", str(request_.out), "--labels", request_.labels]
    done = subprocess.run(
        command("convert", str(request_.model), *arguments), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "annotated.jpg" in done.stdout
    assert "INT8 agrees with the float model" in done.stdout


def test_the_same_frames_and_seed_give_the_same_engine(request_: Request, tmp_path: Path) -> None:
    once = replace(request_, max_trials=1)  # which of several is the fastest is the clock's affair
    first = convert(once, Silent())
    second = convert(replace(once, out=tmp_path / "again"), Silent())
    if first.verdict.outcome is second.verdict.outcome:
        assert first.bundle.manifest.engine.sha256 == second.bundle.manifest.engine.sha256
    assert np.array_equal(*(found_by(r.bundle.folder, range(1))[0].classes for r in (first, second)))


def test_a_yolov8_as_ultralytics_exports_it_needs_no_option(request_: Request, tmp_path: Path) -> None:
    model = blob_yolov8(tmp_path / "yolov8n.onnx")
    arguments = ["--calibration", str(request_.calibration), "--out", str(request_.out)]
    done = subprocess.run(command("convert", str(model), *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "INT8 agrees with the float model" in done.stdout
    manifest = open_bundle(request_.out).manifest
    assert (manifest.head, manifest.labels) == ("yolov8", LABELS)
    assert (manifest.input.resize, manifest.input.channel_order) == ("letterbox-centre", "rgb")
    truth = [colours(blob_picture(seed)) for seed in range(1000, 1004)]
    assert [set(found.classes.tolist()) for found in found_by(request_.out, range(1000, 1004))] == truth


def colours(picture: Image) -> Set[int]:
    """The classes that a picture shows."""
    red, green = picture[:, :, 2] > 128, picture[:, :, 1] > 128
    return {class_id for class_id, shown in ((0, red), (1, green & ~red)) if shown.any()}
