"""A watched folder: new models become versions, whatever is wrong with one keeps the bundle that was there."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, List

import pytest

from converter import watch as module
from converter.watch import Watch
from converter.watch_record import Record, read_record, record_file, write_record
from sightd.bundle import Bundle, open_bundle, sha256_of, write_bundle
from sightd.bundle_versions import versions
from sightd.errors import BundleError, ConfigError
from sightd.manifest import EngineRecord
from tests.parts.blobs import blob_detector, names, write_blob_pictures
from tests.parts.daemon import write_quadrant_bundle
from tests.parts.watching import result_of, watching

KNOWN = ("calibration", "out", "labels", "spec", "size", "factory", "seed", "camera")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


def put(model: Path, *, seed: int = 0, dead: bool = False) -> Path:
    """A model, written elsewhere and renamed into place; a job file with its labels first."""
    made = blob_detector(model.with_name(f".{model.name}"), dead=dead)
    names(model.with_name("labels.txt"))
    model.with_suffix(".yaml").write_text(f"labels: labels.txt\nseed: {seed}\n")
    return made.rename(model)


def test_good_bad_and_disagreeing_models_and_a_second_start(folder: Path, pictures: Path, tmp_path: Path) -> None:
    out, marker = tmp_path / "bundles" / "default", tmp_path / "restarted"
    with watching(folder, pictures, out, "--on-success", f"touch '{marker}'") as process:
        good = result_of(put(folder / "good.onnx"))
        assert (good["state"], good["exit_code"], good["on_success"]) == ("published", 0, 0), good
        assert marker.exists()
        assert good["version"] == versions(out)[0].name
        assert "INT8 agrees" in good["sentence"]

        (folder / "typer.py").write_text("raise SystemExit('what lies here is no library')")
        (folder / "bad.onnx").write_bytes(b"not a model")
        bad = result_of(folder / "bad.onnx")
        assert (bad["state"], bad["exit_code"]) == ("failed", 1)
        assert "not an ONNX file" in bad["sentence"]

        dead = result_of(put(folder / "dead.onnx", dead=True))
        assert (dead["state"], dead["exit_code"]) == ("refused", 3)
        assert "FLOAT SHIPPED" in dead["sentence"]
        assert "The bundle in service stays" in dead["sentence"]

        assert [version.name for version in versions(out)] == [good["version"]]
        second = result_of(put(folder / "second.onnx", seed=1))
        assert [version.name for version in versions(out)] == [second["version"], good["version"]]
    assert process.returncode == 0
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.result.json")}
    with watching(folder, pictures, out):
        third = result_of(put(folder / "third.onnx", seed=2))  # by then the others were looked at again
    assert third["state"] == "published"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(before) == 4
    assert not list(out.parent.glob(".sightd-convert-*"))


def test_sigterm_ends_a_conversion_under_way_and_leaves_it_to_the_next_start(
    folder: Path, pictures: Path, tmp_path: Path
) -> None:
    model = put(folder / "model.onnx")
    out = tmp_path / "bundles" / "default"
    with watching(folder, pictures, out) as process:
        assert process.stdout is not None
        assert any("converting" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not record_file(model).exists()
    assert list(out.parent.iterdir()) == []


def test_two_processes_do_not_watch_one_folder(folder: Path, pictures: Path, tmp_path: Path) -> None:
    with watching(folder, pictures, tmp_path / "bundle") as first:
        assert first.stdout is not None
        assert any("watching" in line for line in first.stdout)
        with pytest.raises(BundleError, match="another sightd watches"):
            module.watch(folder, {}, KNOWN, None, Event())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be watched"):
        module.watch(tmp_path / "nowhere", {}, KNOWN, None, Event())


class Conversions:
    """Stands for `sightd convert`: counts, and ends as it is told."""

    def __init__(self, staged: Path) -> None:
        self.bundle = write_quadrant_bundle(staged)
        self.codes: List[int] = []
        self.arguments: List[List[str]] = []

    def __call__(self, job: Any, staged: Path, stop: Event) -> Any:
        self.arguments.append([str(job.model.name), *job.arguments])
        shutil.copytree(self.bundle, staged)
        code = self.codes.pop(0) if self.codes else 0
        return code, "" if code == 0 else "it failed."


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversions:
    (tmp_path / "made").mkdir()
    instead = Conversions(tmp_path / "made")
    monkeypatch.setattr(module, "_run", instead)
    return instead


def turn(folder: Path, out: Path, times: int = 1, **given: object) -> None:
    """Some turns of the loop on files that are complete; each *turn* is a new start of the process."""
    stop = Event()
    watch = Watch(folder, {"out": str(out), **given}, KNOWN, None, stop, settled_s=0.0)
    turns = iter(range(times))

    def settled(now: float, really: Any = watch.settled) -> Any:
        if next(turns, None) is None:
            stop.set()
            return []
        return really(now)

    watch.settled = settled  # type: ignore[method-assign]
    watch.run()


def test_a_fallback_is_published_with_its_engine(folder: Path, conversions: Conversions, tmp_path: Path) -> None:
    made = open_bundle(conversions.bundle)
    (tmp_path / "fallback.onnx").write_bytes(b"for any CPU")
    manifest = replace(made.manifest, fallback=EngineRecord("onnxruntime", "fp32"))
    write_bundle(made.folder, made.engine_file, manifest, {}, tmp_path / "fallback.onnx")
    put(folder / "model.onnx")
    turn(folder, tmp_path / "out")
    fallback = open_bundle(tmp_path / "out").fallback
    assert fallback is not None
    assert fallback.engine_file.read_bytes() == b"for any CPU"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.0)
    monkeypatch.setattr(module, "_RETRY_S", 0.0)


def touch(path: Path, content: str, age: int = 0) -> Path:
    path.write_text(content)
    os.utime(path, (1_000_000_000 - age, 1_000_000_000 - age))
    return path


def test_a_content_is_converted_once_also_after_a_restart(
    folder: Path, tmp_path: Path, conversions: Conversions
) -> None:
    touch(folder / "a.onnx", "a")
    turn(folder, tmp_path / "out", 3)
    turn(folder, tmp_path / "out")
    assert len(conversions.arguments) == 1
    touch(folder / "a.onnx", "b")
    turn(folder, tmp_path / "out")
    touch(folder / "a.yaml", "seed: 1")
    turn(folder, tmp_path / "out")
    assert conversions.arguments == [["a.onnx"], ["a.onnx"], ["a.onnx", "--seed=1"]]


@pytest.mark.parametrize("second", ["a.onnx.data", "a.onnx_data"])
def test_weights_in_a_second_file_are_part_of_the_model(
    folder: Path, tmp_path: Path, conversions: Conversions, second: str
) -> None:
    touch(folder / second, "old weights")
    touch(folder / "a.onnx", "graph")
    turn(folder, tmp_path / "out")
    turn(folder, tmp_path / "out")
    assert len(conversions.arguments) == 1
    touch(folder / second, "new weights")
    turn(folder, tmp_path / "out")
    assert len(conversions.arguments) == 2


def test_the_newest_is_converted_last(folder: Path, tmp_path: Path, conversions: Conversions) -> None:
    for name, age in (("a.onnx", 1), ("b.pth", 3), ("c.pt", 2), ("f.pt2", 4), ("g.torchscript", 5)):
        touch(folder / name, name, age)
    for name in (".hidden.onnx", "notes.txt", "d.onnx.part", "e.yaml"):
        touch(folder / name, name)
    turn(folder, tmp_path / "out")
    assert [name for name, *_ in conversions.arguments] == ["g.torchscript", "f.pt2", "b.pth", "c.pt", "a.onnx"]


def test_a_file_that_still_grows_is_left_alone(folder: Path) -> None:
    watch = Watch(folder, {}, KNOWN, None, Event(), settled_s=3.0)
    model = folder / "a.onnx"
    for now in range(5):
        model.write_bytes(b"x" * (now + 1))
        assert watch.settled(float(now)) == []
    assert watch.settled(6.9) == []
    assert [path for path, _ in watch.settled(7.0)] == [model]
    model.unlink()
    assert watch.settled(20.0) == []


def test_a_deleted_result_asks_for_another_try(folder: Path, tmp_path: Path, conversions: Conversions) -> None:
    model = touch(folder / "a.onnx", "a")
    conversions.codes = [1]
    turn(folder, tmp_path / "out")
    record = read_record(model)
    assert record is not None
    assert (record.state, record.sentence) == ("failed", "it failed.")
    assert not (tmp_path / "out").exists()
    record_file(model).unlink()
    turn(folder, tmp_path / "out")
    assert open_bundle(tmp_path / "out").manifest.labels == ["tl", "tr", "bl", "br"]


@pytest.mark.parametrize("code", [1, 2, 3, -9])
def test_whatever_fails_keeps_the_old_bundle(folder: Path, tmp_path: Path, conversions: Conversions, code: int) -> None:
    touch(folder / "a.onnx", "a", 1)
    touch(folder / "b.onnx", "b")
    conversions.codes = [0, code]
    turn(folder, tmp_path / "out")
    assert [version.in_service for version in versions(tmp_path / "out")] == [True]


def test_a_machine_that_dies_of_a_model_does_not_die_of_it_for_ever(
    folder: Path, tmp_path: Path, conversions: Conversions
) -> None:
    model = touch(folder / "a.onnx", "a")
    turn(folder, tmp_path / "out")
    done = read_record(model)
    assert done is not None
    for attempts in (1, 2):
        write_record(model, Record(done.key, "running", attempts=attempts))
        turn(folder, tmp_path / "out")
    assert len(conversions.arguments) == 2
    record = read_record(model)
    assert record is not None
    assert record.state == "failed"
    assert "begun 2 times" in record.sentence


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', "\x00"])
def test_a_damaged_result_is_as_none(folder: Path, tmp_path: Path, conversions: Conversions, content: str) -> None:
    model = touch(folder / "a.onnx", "a")
    record_file(model).write_text(content)
    turn(folder, tmp_path / "out")
    assert len(conversions.arguments) == 1


def test_a_full_disk_is_waited_for(
    folder: Path, tmp_path: Path, conversions: Conversions, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    touch(folder / "a.onnx", "a")
    failures = [OSError(28, "No space left on device")] * 2

    def full(model: Path, record: Record) -> None:
        if failures:
            raise failures.pop()
        write_record(model, record)

    monkeypatch.setattr(module, "write_record", full)
    with caplog.at_level(logging.WARNING):
        turn(folder, tmp_path / "out", 4)
    assert "No space left" in caplog.text
    assert len(conversions.arguments) == 1


def test_two_bundles_are_fed_from_one_folder(folder: Path, tmp_path: Path, conversions: Conversions) -> None:
    touch(folder / "a.onnx", "a")
    touch(folder / "b.onnx", "b")
    touch(folder / "b.yaml", "out: ../other")
    turn(folder, tmp_path / "out")
    assert sha256_of(tmp_path / "out" / "manifest.json") == sha256_of(tmp_path / "other" / "manifest.json")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "sed: 1\nlabls: x.txt",
            ["a.yaml:1: unknown key 'sed'; did you mean 'seed'?", "a.yaml:2: unknown key 'labls'"],
        ),
        ("on_success: rm -rf /", ["unknown key 'on_success'"]),
        ("seed:", ["a.yaml:1: seed has no value"]),
        ("seed: 1\nseed: 2", ["a.yaml:2"]),
        ("- seed", ["a.yaml:1"]),
        ("seed: [", ["a.yaml:"]),
    ],
)
def test_mistakes_in_a_job_file_are_told_with_their_lines(
    folder: Path, tmp_path: Path, conversions: Conversions, text: str, messages: List[str]
) -> None:
    model = touch(folder / "a.onnx", "a")
    touch(folder / "a.yaml", text)
    turn(folder, tmp_path / "out")
    record = read_record(model)
    assert record is not None
    assert record.state == "failed"
    assert all(message in record.sentence for message in messages), record.sentence
    assert conversions.arguments == []


def test_options_reach_the_command_line_as_it_has_them(folder: Path, tmp_path: Path, conversions: Conversions) -> None:
    touch(folder / "a.pth", "a")
    touch(
        folder / "a.yaml",
        "spec: {resize: stretch, mean: [1, 2.5, 3]}\nsize: 64x48\nfactory: net:build\nseed: -1\ncamera: [a, b]\n",
    )
    turn(folder, tmp_path / "out", calibration="/set", seed=5)
    expected = {"--calibration=/set", "--seed=-1", "--spec=resize=stretch", "--spec=mean=1,2.5,3", "--size=64x48"}
    assert set(conversions.arguments[0][1:]) == {*expected, "--factory=net:build", "--camera=a", "--camera=b"}


def test_the_command_on_success_may_fail_without_harm(folder: Path, tmp_path: Path, conversions: Conversions) -> None:
    for command, code in (("false", 1), ("/no/such/command", -1), ("'unbalanced", -1), ("true", 0)):
        model = touch(folder / "a.onnx", command)
        stop = Event()
        watch = Watch(folder, {"out": str(tmp_path / "out")}, KNOWN, command, stop, settled_s=0.0)
        watch._convert_once(model)
        record = read_record(model)
        assert record is not None
        assert (record.state, record.on_success) == ("published", code)
    assert isinstance(open_bundle(tmp_path / "out"), Bundle)
