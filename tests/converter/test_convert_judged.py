"""What a conversion is judged by: the settings file's thresholds, the noise floor, the user's own labels."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np
import pytest

from converter.agreement.thresholds import Thresholds
from converter.convert import convert
from converter.progress import Silent
from converter.request import Request
from converter.verdict import Outcome
from sightd.errors import CalibrationError
from tests.parts.blobs import LABELS, blob_detector, blob_picture, write_blob_pictures
from tests.parts.daemon import command


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    pictures = write_blob_pictures(tmp_path / "pictures", 100)
    return Request(blob_detector(tmp_path / "blobs.onnx"), pictures, tmp_path / "bundle", labels=str(labels))


def annotated(folder: Path, count: int) -> Path:
    """Other blob pictures, with every square in COCO's format."""
    (folder / "images").mkdir(parents=True)
    images: List[Dict[str, Any]] = []
    rows: List[Dict[str, Any]] = []
    for number in range(count):
        picture = blob_picture(5000 + number)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png"})
        _, _, squares, _ = cv2.connectedComponentsWithStats((picture.max(axis=2) > 150).astype(np.uint8))
        for x, y, width, height, _ in squares[1:].tolist():
            category = 1 if picture[y + 8, x + 8, 2] > 128 else 2
            rows.append({"image_id": number, "category_id": category, "bbox": [x, y, width, height]})
    categories = [{"id": 1, "name": "white"}, {"id": 2, "name": "green"}]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": rows, "categories": categories})
    )
    return folder / "instances.json"


def test_the_manifest_holds_the_noise_floor_and_the_map_on_the_users_labels(request_: Request, tmp_path: Path) -> None:
    result = convert(replace(request_, truth=annotated(tmp_path / "labelled", 20)), Silent())
    assert result.verdict.outcome in (Outcome.INT8, Outcome.SLOWER)
    agreement = json.loads((request_.out / "manifest.json").read_text())["agreement"]
    assert {name: one["verdict"] for name, one in agreement["noise"].items()} == {
        "finished float model": "agrees",
        "float16 weights": "agrees",
    }
    labelled = agreement["labelled"]
    assert set(labelled) == {"float", "int8"}
    assert labelled["float"]["objects"] == 100
    assert labelled["float"]["ap50"] > 0.9
    assert labelled["int8"]["ap50"] > 0.9


def test_annotations_that_can_not_be_used_end_it_before_the_work_begins(request_: Request, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.json"):
        convert(replace(request_, truth=tmp_path / "none.json", calibration=tmp_path / "nowhere"), Silent())


def test_an_int8_that_misses_a_raised_limit_is_not_shipped(request_: Request) -> None:
    result = convert(replace(request_, thresholds=Thresholds(max_score_shift=1e-5), max_trials=1), Silent())
    assert result.verdict.outcome is Outcome.DISAGREES
    assert "scores shifted" in result.verdict.sentence


def test_the_command_line_takes_the_limits_from_the_settings_file(request_: Request, tmp_path: Path) -> None:
    config = tmp_path / "sightd.yaml"
    config.write_text("cameras:\n  front:\n    url: rtsp://192.0.2.1/x\nagreement:\n  min_evidence: 100000\n")
    arguments = ["--calibration", str(request_.calibration), "--out", str(request_.out), "--labels", request_.labels]
    run = command("convert", str(request_.model), *arguments, "--config", str(config))
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "100000 needed" in done.stderr
