"""Versions of a bundle: what is kept, and the way back, whatever happened in between."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, List

import pytest

from sightd.bundle import open_bundle
from sightd.bundle_versions import KEPT, Version, ancestors, publish, rollback, versions
from sightd.errors import BundleError
from sightd.manifest import EngineRecord, Manifest, ModelRecord
from sightd.types import InputSpec

MANIFEST = Manifest(
    engine=EngineRecord("onnxruntime", "int8"),
    model=ModelRecord("net.onnx", "0" * 64, 13),
    head="yolox",
    input=InputSpec(416, 416),
    labels=["person"],
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def make(folder: Path, text: str, second: int = 0, *extras: str) -> None:
    """Publish a version whose engine file says *text*."""
    engine = folder.with_name("built.onnx")
    engine.write_text(text)
    files = {}
    for name in extras:
        files[name] = folder.with_name(name)
        files[name].write_text(f"{name} of {text}")
    publish(folder, engine, replace(MANIFEST, created_at=f"2026-01-31T23:59:{second:02}+00:00"), files)


def engine_of(version: Version) -> str:
    return version.bundle.engine_file.read_text()


def kept(folder: Path) -> List[str]:
    return [engine_of(version) for version in versions(folder)]


def test_a_first_bundle_is_a_plain_folder_without_versions(folder: Path) -> None:
    make(folder, "one")
    assert {path.name for path in folder.iterdir()} == {open_bundle(folder).engine_file.name, "manifest.json"}
    assert [version.in_service for version in versions(folder)] == [True]


def test_what_is_replaced_is_kept_newest_first_and_no_more_than_some(folder: Path) -> None:
    for second in range(KEPT + 3):
        make(folder, f"engine {second}", second)
    assert kept(folder) == [f"engine {second}" for second in range(KEPT + 2, 1, -1)]
    assert versions(folder)[1].name.startswith("20260131T235906-")


def test_going_back_restores_the_version_to_the_byte_with_its_extras(folder: Path) -> None:
    make(folder, "one", 1, "annotated.jpg", "old.html")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    make(folder, "two", 2, "annotated.jpg", "new.html")
    (folder / "my notes.txt").write_text("keep me")
    version = rollback(folder)
    assert engine_of(version) == "one"
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == {**before, "my notes.txt": b"keep me"}


def test_ancestors_are_the_versions_that_led_here_without_those_that_were_gone_back_from(folder: Path) -> None:
    for second, text in enumerate(["one", "two", "rejected"]):
        make(folder, text, second)
    rollback(folder)
    assert kept(folder) == ["two", "rejected", "one"]
    assert [engine_of(version) for version in ancestors(folder)] == ["one"]
    make(folder, "four", 4)
    assert [engine_of(version) for version in ancestors(folder)] == ["two", "one"]


def test_going_back_twice_goes_further_back_and_then_says_that_there_is_no_more(folder: Path) -> None:
    for second, text in enumerate(["one", "two", "three"]):
        make(folder, text, second)
    assert engine_of(rollback(folder)) == "two"
    assert engine_of(rollback(folder)) == "one"
    with pytest.raises(BundleError, match="nothing was changed"):
        rollback(folder)
    assert kept(folder) == ["one", "three", "two"]


def test_a_version_that_was_gone_back_from_is_passed_over_later(folder: Path) -> None:
    make(folder, "good", 1)
    make(folder, "bad", 2)
    rollback(folder)
    make(folder, "newer", 3)
    assert engine_of(rollback(folder)) == "good"


def test_the_way_forward_is_open_by_name(folder: Path) -> None:
    make(folder, "one", 1)
    make(folder, "two", 2)
    name = versions(folder)[0].name
    rollback(folder)
    assert engine_of(rollback(folder, name)) == "two"


def test_the_version_to_return_to_is_kept_however_old_it_is(folder: Path) -> None:
    for second in range(KEPT + 1):
        make(folder, f"engine {second}", second)
    oldest = versions(folder)[-1].name
    rollback(folder, oldest)
    make(folder, "new", 59)
    assert engine_of(rollback(folder)) == "engine 0"


@pytest.mark.parametrize("name", ["nowhere", "../bundle", ".", ""])
def test_an_unknown_version_is_refused_with_those_that_are_kept(folder: Path, name: str) -> None:
    make(folder, "one", 1)
    make(folder, "two", 2)
    (other,) = [version.name for version in versions(folder) if not version.in_service]
    if name:
        with pytest.raises(BundleError, match=other):
            rollback(folder, name)
        assert kept(folder)[0] == "two"


def test_a_damaged_bundle_is_not_kept_and_can_be_gone_back_from(folder: Path) -> None:
    make(folder, "one", 1)
    make(folder, "two", 2)
    engine = open_bundle(folder).engine_file
    engine.unlink()
    engine.write_text("rot")
    assert engine_of(rollback(folder)) == "one"
    assert kept(folder) == ["one"]


def test_a_damaged_version_is_not_gone_back_to(folder: Path) -> None:
    make(folder, "one", 1)
    make(folder, "two", 2)
    versions(folder)[1].bundle.engine_file.write_text("rot")
    with pytest.raises(BundleError, match="altered or damaged"):
        rollback(folder)
    assert kept(folder) == ["two"]


def test_what_a_killed_writer_left_is_removed(folder: Path) -> None:
    make(folder, "one", 1)
    make(folder, "two", 2)
    (folder / ".engine-00.onnx.partial").write_text("half")
    (folder / "engine-000000000000.onnx").write_text("without a manifest")
    (folder / "versions" / ".half.partial").mkdir()
    make(folder, "three", 3)
    assert not list(folder.rglob("*.partial"))
    assert [path.name for path in folder.glob("engine-*")] == [open_bundle(folder).engine_file.name]


def test_without_hard_links_versions_are_copies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "not on FAT")

    monkeypatch.setattr(os, "link", refuse)
    make(folder, "one", 1)
    make(folder, "two", 2)
    assert kept(folder) == ["two", "one"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_extras_outside_the_bundle_are_neither_read_nor_removed(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("mine")
    make(folder, "one", 1)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"extras": []', f'"extras": ["{name}"]'))
    assert name in manifest.read_text()
    make(folder, "two", 2)
    assert (tmp_path / "secret").read_text() == "mine"
    assert len(list(versions(folder)[1].bundle.folder.iterdir())) == 2
