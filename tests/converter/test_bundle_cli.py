"""`sightd bundle` as users run it: exit codes, plain lines for programs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from sightd.bundle import open_bundle
from sightd.bundle_versions import publish, versions
from tests.parts.daemon import command, write_quadrant_bundle
from tests.parts.tensorrt_bundle import fake_tensorrt_in_processes, publish_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle in its second version, whose labels differ from those of the first."""
    made = write_quadrant_bundle(tmp_path)
    first = open_bundle(made)
    bundle = tmp_path / "bundles" / "default"
    manifest = replace(first.manifest, created_at="2026-01-01T00:00:00+00:00", verdict="Good. Very.")
    publish(bundle, first.engine_file, manifest, {})
    newer = replace(manifest, labels=["tl", "tr", "bl", "x"], created_at="2026-01-02T00:00:00+00:00")
    publish(bundle, first.engine_file, newer, {})
    return bundle


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("bundle", *map(str, arguments)), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def lines(*arguments: object) -> List[List[str]]:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("where", ["bundles", "bundles/default"])
def test_ls_lists_versions_with_the_one_in_service_marked(folder: Path, tmp_path: Path, where: str) -> None:
    rows = lines("ls", tmp_path / where)
    assert [(name, mark, version[:15], verdict) for name, mark, version, _, _, verdict in rows] == [
        ("default", "*", "20260102T000000", "Good"),
        ("default", "", "20260101T000000", "Good"),
    ]


def test_ls_tells_of_a_damaged_bundle_beside_sound_ones(folder: Path) -> None:
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "manifest.json").write_text("{")
    assert next(row[:2] for row in lines("ls", folder.parent)) == ["broken", "!"]


def test_show_prints_values_and_json(folder: Path) -> None:
    shown = dict(lines("show", folder))
    assert shown["version"] == versions(folder)[0].name
    assert shown["labels"] == "tl, tr, bl, x"
    assert json.loads(run("show", folder, "--json").stdout)["labels"] == ["tl", "tr", "bl", "x"]


def test_diff_shows_what_differs_and_nothing_else(folder: Path) -> None:
    earlier = versions(folder)[1].bundle.folder
    assert lines("diff", earlier, folder) == [["labels", "br", "x"]]
    assert lines("diff", folder, folder) == []


def test_rollback_says_which_version_is_in_service_and_then_that_there_is_none(folder: Path) -> None:
    earlier = versions(folder)[1].name
    done = run("rollback", folder)
    assert (done.returncode, earlier in done.stdout) == (0, True)
    assert versions(folder)[0].name == earlier
    done = run("rollback", folder)
    assert (done.returncode, "nothing was changed" in done.stderr) == (1, True)


def test_verify_runs_the_engine(folder: Path) -> None:
    done = run("verify", folder)
    assert (done.returncode, "is sound and runs here" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"machine": ""', '"machine": "sparc64"', "made for sparc64, this machine is"),
        ('"kind": "onnxruntime"', '"kind": "abacus"', "'abacus' is not known"),
        ('"schema": 1', '"schema": 7', "manifest schema 7"),
        ('"tl",', "", "finds class 3, counted from 0, but its manifest has 3 labels"),
    ],
)
def test_verify_says_why_a_bundle_is_of_no_use_here(folder: Path, old: str, new: str, message: str) -> None:
    manifest = folder / "manifest.json"
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new))
    done = run("verify", folder)
    assert done.returncode == 1
    assert message in done.stderr


def test_verify_refuses_an_altered_engine_and_one_that_does_not_load(folder: Path, tmp_path: Path) -> None:
    bundle = open_bundle(folder)
    junk = tmp_path / "junk.onnx"
    junk.write_text("junk")
    publish(tmp_path / "junk", junk, bundle.manifest, {})
    assert run("verify", tmp_path / "junk").returncode == 1
    bundle.engine_file.write_text("rot")
    done = run("verify", folder)
    assert (done.returncode, "altered or damaged" in done.stderr) == (1, True)


def test_show_tells_what_a_tensorrt_engine_was_built_for_its_layers_and_its_fallback(tmp_path: Path) -> None:
    folder = publish_plan(tmp_path, "8.5.2.2").folder
    shown = dict(lines("show", folder))
    assert (shown["engine.versions.tensorrt"], shown["engine.versions.sm"]) == ("8.5.2.2", "8.7")
    assert (shown["engine.layers.int8"], shown["engine.layers.fp16"]) == ("1", "1")
    assert (shown["fallback.kind"], shown["fallback.precision"]) == ("onnxruntime", "fp32")
    manifest = json.loads(run("show", folder, "--json").stdout)
    assert manifest["engine"]["versions"]["device"] == "Orin"
    assert manifest["engine"]["layers"] == {"int8": 1, "fp16": 1}
    assert manifest["fallback"]["sha256"] == open_bundle(folder).manifest.fallback.sha256


def test_verify_runs_the_fallback_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = publish_plan(tmp_path, "10.3.0.26")
    fake_tensorrt_in_processes(tmp_path, monkeypatch, "10.3.0.26")
    done = run("verify", bundle.folder)
    assert done.returncode == 0, done.stderr
    assert "runs here (int8 on tensorrt), and so does its fallback (fp32 on onnxruntime)" in done.stdout
    assert bundle.fallback is not None
    bundle.fallback.engine_file.write_text("rot")
    done = run("verify", bundle.folder)
    assert (done.returncode, "altered or damaged" in done.stderr) == (1, True)


def test_verify_says_that_an_engine_is_of_another_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish_plan(tmp_path, "8.5.2.2").folder
    fake_tensorrt_in_processes(tmp_path, monkeypatch, "10.3.0.26")
    done = run("verify", folder)
    assert done.returncode == 1
    assert "built by TensorRT 8.5.2.2, this machine has 10.3.0.26" in done.stderr
    assert f"sightd convert --rebuild {folder}" in done.stderr


@pytest.mark.parametrize("what", ["ls", "show", "verify", "rollback"])
def test_a_folder_without_a_bundle_is_an_error(tmp_path: Path, what: str) -> None:
    done = run(what, tmp_path / "nowhere")
    assert (done.returncode, "nowhere" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    assert not (tmp_path / "nowhere").exists()
