"""The doctor on several models: each bundle by itself, and whether the settings fit them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from daemon.doctor import models
from daemon.doctor.machine import Machine
from daemon.doctor.sandbox import check as sandbox
from sightd.settings import Settings, parse_settings
from tests.parts.blob_bundles import write_blob_bundle, write_colour_bundle
from tests.parts.blobs import write_blob_clip
from tests.parts.clips import write_clip
from tests.parts.daemon import command, write_quadrant_bundle
from tests.parts.doctor import by_name, one

CONFIG = """\
bundle: bundle
mqtt: {port: 1}
calibration: {folder: frames}
classifiers: {colour: {bundle: colours, objects: [green]}}
cameras: {a: {url: squares.avi}, b: {url: squares.avi, bundle: blobs}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_quadrant_bundle(tmp_path)
    write_blob_bundle(tmp_path / "blobs")
    write_colour_bundle(tmp_path / "colours")
    write_blob_clip(tmp_path / "squares.avi", 20)
    return tmp_path


def settings(folder: Path, text: str = CONFIG) -> Settings:
    return parse_settings(text.encode(), folder / "sightd.yaml")


def test_every_bundle_is_tried_and_the_damaged_one_is_named(folder: Path) -> None:
    manifest = json.loads((folder / "blobs" / "manifest.json").read_text())
    (folder / "blobs" / manifest["engine"]["file"]).write_bytes(b"x")
    write_clip(folder / "wide.avi", count=30, width=160, height=160)
    (folder / "sightd.yaml").write_text(CONFIG.replace("b: {url: squares", "b: {url: wide"))
    done = subprocess.run(
        command("doctor", "--config", str(folder / "sightd.yaml"), "--json"),
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["findings"]
    engines = [one for one in found if one["area"] == "engine"]
    assert {one["name"]: one["says"].rpartition(": ")[2] for one in engines if one["level"] != "ok"} == {
        f"bundle of {folder / 'blobs'}": "not the file that the manifest describes (size or sha256 differs)"
    }
    assert {one["name"] for one in engines if one["level"] == "ok"} == {
        f"bundle of {folder / 'bundle'}",
        f"trial of {folder / 'bundle'}",
        f"bundle of {folder / 'colours'}",
        f"trial of {folder / 'colours'}",
    }
    (wide,) = [one["level"] for one in found if (one["area"], one["name"]) == ("cameras", "b")]
    assert wide == "ok", "held against the input of its own model"
    assert done.returncode == 1


def test_settings_that_fit_their_models_are_well(folder: Path) -> None:
    assert one(models.check(Machine(), settings(folder)), "models").level == "ok"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("bundle: blobs", "bundle: blobs, labels: [tl]", "cameras.b.labels: the model in {}/blobs has no label 'tl'"),
        ("[green]", "[gren]", "classifiers.colour.objects: no model of its cameras has the label 'gren'"),
        ("bundle: colours", "bundle: blobs", "classifiers.colour.bundle: the model in {}/blobs is a detector"),
    ],
)
def test_what_would_not_start_is_a_problem(folder: Path, before: str, after: str, complaint: str) -> None:
    found = one(models.check(Machine(), settings(folder, CONFIG.replace(before, after))), "models")
    assert found.level == "problem"
    assert found.says.startswith(complaint.format(folder))


def test_a_bundle_that_can_not_be_read_is_left_to_the_check_of_its_engine(folder: Path) -> None:
    (folder / "blobs" / "manifest.json").unlink()
    assert list(models.check(Machine(), settings(folder))) == []


def test_every_bundle_that_the_unit_hides_is_a_problem(folder: Path) -> None:
    hidden = settings(folder, CONFIG.replace("bundle: blobs", "bundle: /home/me/blobs"))
    found = by_name(sandbox(Machine(), hidden, {"ProtectHome": "yes"}))
    assert {name: finding.level for name, finding in found.items()} == {"bundle /home/me/blobs": "problem"}
    assert "/opt/sightd/bundles" in found["bundle /home/me/blobs"].fix


def check_config(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "sightd.yaml").write_text(text)
    line = command("check-config", str(folder / "sightd.yaml"))
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_check_config_says_which_camera_has_which_model(folder: Path) -> None:
    done = check_config(folder, CONFIG)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("bundle")] == [
        f"bundle   {folder}/bundle: quadrants.onnx, 4 labels",
        f"bundle   {folder}/blobs: blobs.onnx, 2 labels",
        f"bundle   {folder}/colours: colours.onnx, 2 labels",
    ]
    assert f"camera   b: {folder}/squares.avi (at most 10 fps, {folder}/blobs)" in lines
    assert f"classify colour: green of all cameras, {folder}/colours" in lines


def test_check_config_refuses_a_label_that_the_cameras_model_lacks(folder: Path) -> None:
    done = check_config(folder, CONFIG.replace("bundle: blobs", "bundle: blobs, labels: [tl]"))
    assert done.returncode == 2
    assert f"cameras.b.labels: the model in {folder}/blobs has no label 'tl'; there are: white, green" in done.stderr


def test_check_config_passes_where_a_bundle_is_still_to_come(folder: Path) -> None:
    done = check_config(folder, CONFIG.replace("bundle: blobs", "bundle: later, labels: [cat]"))
    assert done.returncode == 0
    assert f"bundle   {folder}/later (labels are not checked: {folder}/later: no manifest.json there" in done.stdout
