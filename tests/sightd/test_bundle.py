from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import List, Tuple

import pytest

from sightd.bundle import (
    Bundle,
    check_engine_file,
    holds_something_else,
    open_bundle,
    read_engine_file,
    sha256_of,
    write_bundle,
)
from sightd.errors import BundleError
from sightd.manifest import EngineRecord, Manifest, ModelRecord
from sightd.types import InputSpec

MANIFEST = Manifest(
    engine=EngineRecord("onnxruntime", "int8", versions={"onnxruntime": "1.19.2"}, machine="x86_64"),
    model=ModelRecord("net.onnx", "0" * 64, 13),
    head="yolox",
    input=InputSpec(416, 416, mean=(1.0, 2.0, 3.0)),
    labels=["person", "car"],
    verdict="agrees",
)


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    path = tmp_path / "built.onnx"
    path.write_bytes(b"engine one")
    return path


@pytest.fixture
def folder(tmp_path: Path, engine_file: Path) -> Path:
    write_bundle(tmp_path / "bundle", engine_file, MANIFEST, {})
    return tmp_path / "bundle"


def test_what_was_written_is_read_back(folder: Path, engine_file: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.engine_file.read_bytes() == b"engine one"
    assert bundle.manifest.engine.sha256 == sha256_of(engine_file)
    assert replace(bundle.manifest, engine=MANIFEST.engine) == MANIFEST


def test_a_replaced_bundle_names_its_parent_and_leaves_one_engine(folder: Path, engine_file: Path) -> None:
    parent = sha256_of(folder / "manifest.json")
    engine_file.write_bytes(b"engine two")
    picture = engine_file.with_name("x.jpg")
    picture.write_bytes(b"jpeg")
    write_bundle(folder, engine_file, MANIFEST, {"annotated.jpg": picture})
    bundle = open_bundle(folder)
    assert bundle.manifest.parent == parent
    assert bundle.engine_file.read_bytes() == b"engine two"
    assert sorted(path.name for path in folder.iterdir()) == ["annotated.jpg", bundle.engine_file.name, "manifest.json"]


def with_fallback(folder: Path, engine_file: Path) -> Bundle:
    """A bundle for TensorRT with a fallback that says "plan B"."""
    plan = engine_file.with_name("built.plan")
    plan.write_bytes(b"a plan")
    engine_file.write_bytes(b"plan B")
    engine, fallback = EngineRecord("tensorrt", "int8", machine="aarch64"), EngineRecord("onnxruntime", "fp32")
    return write_bundle(folder, plan, replace(MANIFEST, engine=engine, fallback=fallback), {}, engine_file)


def test_a_fallback_is_written_listed_and_described(tmp_path: Path, engine_file: Path) -> None:
    bundle = open_bundle(with_fallback(tmp_path / "bundle", engine_file).folder)
    record, fallback = bundle.manifest.fallback, bundle.fallback
    assert record is not None
    assert fallback is not None
    assert (record.sha256, record.size) == (sha256_of(engine_file), 6)
    assert fallback.engine_file.read_bytes() == b"plan B"
    assert set(bundle.files) == {bundle.engine_file.name, fallback.engine_file.name}
    check_engine_file(bundle.folder, record)


def test_a_fallback_is_a_bundle_for_any_processor_and_has_none_itself(tmp_path: Path, engine_file: Path) -> None:
    bundle = with_fallback(tmp_path / "bundle", engine_file)
    made_here = replace(bundle.manifest.fallback or MANIFEST.engine, machine="aarch64")
    fallback = replace(bundle, manifest=replace(bundle.manifest, fallback=made_here)).fallback
    assert fallback is not None
    assert (fallback.manifest.engine.kind, fallback.manifest.engine.machine) == ("onnxruntime", "")
    assert (fallback.manifest.labels, fallback.fallback) == (MANIFEST.labels, None)


def test_an_altered_fallback_is_refused_only_where_it_would_be_loaded(tmp_path: Path, engine_file: Path) -> None:
    bundle = with_fallback(tmp_path / "bundle", engine_file)
    assert bundle.fallback is not None
    bundle.fallback.engine_file.write_bytes(b"plan C")
    opened = open_bundle(bundle.folder)
    assert opened.fallback is not None
    with pytest.raises(BundleError, match="altered or damaged"):
        check_engine_file(opened.folder, opened.fallback.manifest.engine)


def test_a_fallback_goes_with_the_bundle_that_it_belongs_to(tmp_path: Path, engine_file: Path) -> None:
    folder = with_fallback(tmp_path / "bundle", engine_file).folder
    bundle = write_bundle(folder, engine_file, MANIFEST, {})
    assert bundle.fallback is None
    assert sorted(path.name for path in folder.iterdir()) == [bundle.engine_file.name, "manifest.json"]


def test_a_fallback_needs_both_a_record_and_a_file(tmp_path: Path, engine_file: Path) -> None:
    with pytest.raises(ValueError, match="go together"):
        write_bundle(tmp_path / "bundle", engine_file, MANIFEST, {}, engine_file)
    with pytest.raises(ValueError, match="go together"):
        write_bundle(tmp_path / "bundle", engine_file, replace(MANIFEST, fallback=MANIFEST.engine), {})
    assert not (tmp_path / "bundle").exists()


def test_a_missing_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="sightd convert"):
        open_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("change", [b"engine 0ne", b"engine one and more", b""])
def test_an_altered_engine_is_refused(folder: Path, change: bytes) -> None:
    open_bundle(folder).engine_file.write_bytes(change)
    with pytest.raises(BundleError, match="altered or damaged"):
        open_bundle(folder)


def test_a_lost_engine_is_refused(folder: Path) -> None:
    open_bundle(folder).engine_file.unlink()
    with pytest.raises(BundleError, match="convert the model again"):
        open_bundle(folder)


def test_an_engine_that_may_not_be_read_needs_rights_not_another_conversion(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("sightd.bundle.sha256_of", refused)  # root may read everything
    with pytest.raises(BundleError, match=r"\(Permission denied\); check its owner and permissions"):
        open_bundle(folder)


def test_a_model_in_the_bundle_s_place_is_told_from_one_without_rights(engine_file: Path) -> None:
    with pytest.raises(BundleError, match="is no folder; a bundle is one: sightd convert MODEL --out FOLDER"):
        open_bundle(engine_file)


def test_a_pipe_in_the_manifest_s_place_is_refused(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(BundleError, match="damaged manifest"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../built.onnx", "/etc/passwd", "", "engine\0.onnx", "e" * 5000])
def test_an_engine_outside_the_bundle_is_refused(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["engine"]["file"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="outside the bundle"):
        open_bundle(folder)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 1}', '{"schema": "1"}', "\x00\xff", '{"schema": 1e999}'])
def test_a_damaged_manifest_is_refused(folder: Path, damage: str) -> None:
    (folder / "manifest.json").write_text(damage, "latin-1")
    with pytest.raises(BundleError, match="damaged manifest"):
        open_bundle(folder)


def test_an_impossible_input_spec_is_refused(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"letterbox-centre"', '"crop"'))
    with pytest.raises(BundleError, match="resize is 'crop'"):
        open_bundle(folder)


@pytest.mark.parametrize("sizes", [(1, 4, 10**9), (0, 4, 8), (1, 9, 8), (-1, -1, -1), (5, 4, 8)])
def test_batch_sizes_that_no_engine_has_are_refused(folder: Path, sizes: Tuple[int, int, int]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["profile"] = dict(zip(("min", "opt", "max"), sizes))
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError, match=r"batch sizes .*: they must rise \(min, opt, max\), within 1..1024"):
        open_bundle(folder)


def test_a_batch_that_takes_more_memory_than_there_is_sense_in_is_refused() -> None:
    replace(MANIFEST, input=InputSpec(2560, 2560))
    with pytest.raises(ValueError, match="a batch of 8 pictures of 8192 x 8192 pixels would take more than 1024 MiB"):
        replace(MANIFEST, input=InputSpec(8192, 8192))


def test_a_manifest_of_another_schema_is_refused_by_its_number(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema": 99, "engine": "something else"}')
    with pytest.raises(BundleError, match="manifest schema 99"):
        open_bundle(folder)


def test_a_huge_manifest_is_refused_before_it_is_parsed(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema": 1, "verdict": "' + "x" * (5 << 20) + '"}')
    with pytest.raises(BundleError, match="larger than"):
        open_bundle(folder)


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="Linux only")
def test_a_full_disk_keeps_the_bundle_that_was_there(tmp_path: Path) -> None:
    """A child whose files may not grow past 64 KiB stands for the disk: its write fails half way."""
    big = tmp_path / "big.onnx"
    big.write_bytes(b"\0" * (1 << 20))
    small = tmp_path / "small.onnx"
    small.write_bytes(b"engine one")
    folder = tmp_path / "bundle"
    write_bundle(folder, small, MANIFEST, {})
    code = (
        "import resource, signal, sys, pathlib\n"
        "from sightd.bundle import open_bundle, write_bundle\n"
        "from sightd.errors import BundleError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "folder, big = map(pathlib.Path, sys.argv[1:])\n"
        "try:\n"
        "    write_bundle(folder, big, open_bundle(folder).manifest, {})\n"
        "except BundleError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(big)], capture_output=True, text=True, check=True
    )
    assert "what was there before is kept" in done.stdout
    bundle = open_bundle(folder)
    assert bundle.engine_file.read_bytes() == b"engine one"
    assert sorted(path.name for path in folder.iterdir()) == [bundle.engine_file.name, "manifest.json"]


@pytest.mark.parametrize("name", ["../engine.onnx", "/etc/passwd", "a/b.onnx", "..", ".", "", "link.onnx"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(tmp_path: Path, engine_file: Path, name: str) -> None:
    bundle = write_bundle(tmp_path / "bundle", engine_file, MANIFEST, {})
    (bundle.folder / "link.onnx").symlink_to(engine_file)
    record = replace(bundle.manifest.engine, file=name)
    for look_at in (check_engine_file, read_engine_file):
        with pytest.raises(BundleError, match=r"refused|can't be read"):
            look_at(bundle.folder, record)


@pytest.mark.parametrize("size", [0, 3, 1 << 60])
def test_no_more_is_read_than_the_manifest_says(tmp_path: Path, engine_file: Path, size: int) -> None:
    bundle = write_bundle(tmp_path / "bundle", engine_file, MANIFEST, {})
    with pytest.raises(BundleError, match="altered or damaged"):
        read_engine_file(bundle.folder, replace(bundle.manifest.engine, size=size))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 5000,
        b'{"schema": 1, "build": ' + b"[" * 5000,
        b'{"schema": NaN}',
        b'{"schema": 1e999}',
        b"\xff",
        b"22:22:22",
    ],
)
def test_a_hostile_manifest_is_a_damaged_one(tmp_path: Path, engine_file: Path, content: bytes) -> None:
    folder = write_bundle(tmp_path / "bundle", engine_file, MANIFEST, {}).folder
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="convert the model again"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("names", "foreign"),
    [
        ([], False),
        ([".DS_Store"], False),
        (["thesis.doc"], True),
        (["annotated.jpg", "report.html"], True),
        (["manifest.json", "thesis.doc"], False),
        (["engine-0123.onnx", "annotated.jpg"], False),
        (["versions"], False),
    ],
)
def test_a_folder_of_other_things_is_told_from_a_bundle(tmp_path: Path, names: List[str], foreign: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert holds_something_else(tmp_path) is foreign
