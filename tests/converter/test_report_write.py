"""The report of real conversions: in the bundle, about the engine that was judged, with its figures as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from converter.convert import convert
from converter.int8.ranges import Ranges
from converter.progress import Silent
from converter.request import Request
from tests.parts.blobs import LABELS, blob_detector, write_blob_pictures


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> Request:
    folder = tmp_path_factory.mktemp("report")
    pictures = write_blob_pictures(folder / "pictures", 100)
    (folder / "labels.txt").write_text("\n".join(["<script>", *LABELS[1:]]))
    model = blob_detector(folder / "blobs.onnx")
    return Request(model, pictures, folder / "bundle", labels=str(folder / "labels.txt"), max_trials=1)


def report_of(request: Request) -> Tuple[str, Dict[str, Any]]:
    folder = convert(request, Silent()).bundle.folder
    return (folder / "report.html").read_text("utf-8"), json.loads((folder / "report.json").read_text("utf-8"))


def test_a_bundle_holds_a_report_of_its_engine(request_: Request) -> None:
    text, figures = report_of(replace(request_, command="sightd convert blobs.onnx --password=rtsp://me:secret@cam/"))
    manifest = json.loads((request_.out / "manifest.json").read_text())
    assert figures["manifest"]["engine"]["sha256"] == manifest["engine"]["sha256"]
    assert figures["agreement"]["evidence"] >= 200
    assert figures["thresholds"]["min_evidence"] == 200
    assert len(figures["trials"]) == 1
    assert {layer["precision"] for layer in figures["layers"]} >= {"head"}
    assert figures["sizes"]["INT8 engine"] > 0
    assert figures["request"]["frames"] == 512
    assert manifest["verdict"] in text.replace("&#x27;", "'")
    assert "sightd convert blobs.onnx" in text
    assert "secret" not in text
    assert "<script" not in text


def test_a_refused_engine_is_shown_on_its_worst_frames(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranges, "bounds", lambda *given: (0.0, 1e-3))  # every activation clipped
    text, figures = report_of(replace(request_, out=request_.out.with_name("refused")))
    assert figures["outcome"] == "disagrees"
    assert figures["judged"].startswith("INT8")
    assert figures["agreement"]["verdict"] == "disagrees"
    assert "Float shipped: INT8 disagrees" in text
    assert len(re.findall(r"<figcaption>images, \d+\.png: \d missed", text)) == 6
    assert len(text.encode()) < 3_000_000


def test_a_detector_that_finds_nothing_has_a_report_too(request_: Request, tmp_path: Path) -> None:
    dead = blob_detector(tmp_path / "dead.onnx", dead=True)
    text, figures = report_of(replace(request_, model=dead, out=tmp_path / "bundle"))
    assert figures["outcome"] == "unproven"
    assert figures["layers"] == []
    assert "Damage of each layer: not measured" in text
