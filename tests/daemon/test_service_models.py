"""Several models and a classifier in one daemon: as a process, with real engines, clips and a real broker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from daemon.messages import ConfigMessage, DetectionsMessage, InfoMessage, StatsMessage
from sightd.bundle import open_bundle, write_bundle
from tests.parts.blob_bundles import COLOURS, write_blob_bundle, write_colour_bundle
from tests.parts.blobs import LABELS, write_blob_clip
from tests.parts.broker import Broker, Collector, collect
from tests.parts.clips import write_clip
from tests.parts.daemon import running_daemon, write_quadrant_bundle
from tests.parts.tensorrt_bundle import fake_tensorrt_in_processes, publish_plan

QUADRANTS = {"tl", "tr", "bl", "br"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds two detectors ("bundle", "blobs"), a classifier ("colours") and two clips."""
    write_quadrant_bundle(tmp_path)
    write_blob_bundle(tmp_path / "blobs")
    write_colour_bundle(tmp_path / "colours")
    write_blob_clip(tmp_path / "squares.avi", 40)
    write_clip(tmp_path / "numbers.avi")
    return tmp_path


FOUR = """\
  q1: {url: numbers.avi, min_score: 0.2}
  q2: {url: numbers.avi, min_score: 0.2}
  b1: {url: squares.avi, bundle: blobs}
  b2: {url: squares.avi, bundle: blobs, labels: [green]}
"""


def config(broker: Broker, cameras: str, more: str = "") -> str:
    return f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\n{more}cameras:\n{cameras}"


def detections(collector: Collector, camera: str) -> List[DetectionsMessage]:
    topic = f"sightd/box/{camera}/detections"
    return [
        msgspec.json.decode(message.payload, type=DetectionsMessage)
        for message in collector.messages
        if message.topic == topic
    ]


def labels(messages: List[DetectionsMessage]) -> set[str]:
    return {found.label for message in messages for found in message.objects}


def newest(collector: Collector, topic: str, kind: Any) -> Any:
    return msgspec.json.decode(collector.newest[f"sightd/box/{topic}"], type=kind)


def stats_of(collector: Collector) -> StatsMessage:
    collector.wait_until(lambda c: "sightd/box/stats" in c.newest)
    stats: StatsMessage = newest(collector, "stats", StatsMessage)
    return stats


def adds_up(stats: StatsMessage) -> bool:
    return stats.engine.batches == sum(model.batches for model in stats.models.values())


def wait_for_each(collector: Collector, cameras: str, count: int) -> None:
    collector.wait_until(lambda c: min(len(detections(c, name)) for name in cameras.split()) >= count, 60)


def test_two_models_share_four_cameras_and_each_camera_speaks_its_own_models_words(
    broker: Broker, folder: Path
) -> None:
    with collect(broker) as seen, running_daemon(folder, config(broker, FOUR)) as daemon:
        wait_for_each(seen, "q1 q2 b1 b2", 8)
        seen.wait_until(lambda c: all(model.batches > 0 for model in stats_of(c).models.values()))
        seen.wait_until(lambda c: adds_up(stats_of(c)))  # not where a batch ended while they were counted
        info, stats = newest(seen, "info", InfoMessage), newest(seen, "stats", StatsMessage)
        assert daemon.stop() == 0
    assert labels(detections(seen, "q1")) | labels(detections(seen, "q2")) <= QUADRANTS
    assert labels(detections(seen, "b1")) == set(LABELS)
    assert labels(detections(seen, "b2")) == {"green"}
    for camera in ("q1", "q2", "b1", "b2"):
        sequence = [message.seq for message in detections(seen, camera)]
        assert sequence == sorted(set(sequence))
    assert [(model.bundle, model.cameras) for model in info.models] == [
        (str(folder / "bundle"), ["q1", "q2"]),
        (str(folder / "blobs"), ["b1", "b2"]),
    ]
    assert (info.model, info.engine) == (info.models[0].model, info.models[0].engine)
    assert set(info.labels) == QUADRANTS | set(LABELS)
    assert info.models[1].labels == LABELS
    assert list(stats.models) == [model.bundle for model in info.models]


def test_a_damaged_bundle_of_one_camera_ends_it_and_is_named(broker: Broker, folder: Path) -> None:
    manifest = json.loads((folder / "blobs" / "manifest.json").read_text())
    with (folder / "blobs" / manifest["engine"]["file"]).open("ab") as engine:
        engine.write(b"x")
    with running_daemon(folder, config(broker, FOUR)) as daemon:
        assert daemon.process.wait(60) == 1
    assert str(folder / "blobs") in daemon.log
    assert "altered or damaged" in daemon.log


def test_an_engine_that_fails_while_it_runs_ends_it_and_is_named(broker: Broker, folder: Path) -> None:
    """It is started again: a service of which one model is silently missing would be worse."""
    spoil_engine(folder / "blobs")
    with collect(broker) as seen, running_daemon(folder, config(broker, FOUR)) as daemon:
        assert daemon.process.wait(60) == 1
        seen.wait_for("sightd/box/available", b"offline")
    assert f"inference failed: {folder / 'blobs'}: ONNX Runtime failed on a batch" in daemon.log
    assert "Traceback" not in daemon.log


def test_after_an_upgrade_only_the_model_that_it_hit_has_a_reason(
    broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "bundle")
    publish_plan(folder, "8.5.2.2")
    fake_tensorrt_in_processes(folder, monkeypatch, "10.3.0.26")
    with collect(broker) as seen, running_daemon(folder, config(broker, FOUR)) as daemon:
        wait_for_each(seen, "q1 b1", 3)
        info = newest(seen, "info", InfoMessage)
        assert daemon.stop() == 0
    quadrants, blobs = info.models
    assert (quadrants.engine.kind, quadrants.engine.precision) == ("onnxruntime", "fp32")
    assert quadrants.fallback_reason.endswith(f"sightd convert --rebuild {folder / 'bundle'}")
    assert (blobs.fallback_reason, info.fallback_reason) == ("", quadrants.fallback_reason)


def test_engines_of_two_kinds_serve_side_by_side(broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two TensorRT engines (on the fake) share the thread and its CUDA context with one of ONNX Runtime."""
    (folder / "second").mkdir()
    for parent in (folder, folder / "second"):
        shutil.rmtree(parent / "bundle", ignore_errors=True)
        publish_plan(parent, "10.3.0.26")
    fake_tensorrt_in_processes(folder, monkeypatch, "10.3.0.26")
    cameras = FOUR.replace("q2: {url: numbers.avi,", "q2: {url: numbers.avi, bundle: second/bundle,")
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
        wait_for_each(seen, "q1 q2 b1", 5)
        info = newest(seen, "info", InfoMessage)
        assert daemon.stop() == 0
    assert [(model.engine.kind, model.cameras) for model in info.models] == [
        ("tensorrt", ["q1"]),
        ("tensorrt", ["q2"]),
        ("onnxruntime", ["b1", "b2"]),
    ]
    assert labels(detections(seen, "q1")) == labels(detections(seen, "q2")) != set()
    assert labels(detections(seen, "b1")) == set(LABELS)


def spoil_engine(folder: Path) -> None:
    """Let the engine of the bundle in *folder* fail on every picture that is not black."""
    bundle = open_bundle(folder)
    model = onnx.load(str(bundle.engine_file))
    constants = {"limit": np.array(1, np.float32), "row": np.zeros(1, np.float32), "axes": np.array([1, 2, 3])}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    (scores,) = [node for node in model.graph.node if "scores" in node.output]
    scores.output[list(scores.output).index("scores")] = "sound"
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["light"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["light"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "limit"], ["spoilt"]),
            helper.make_node("Cast", ["spoilt"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["row", "index"], ["nothing"]),  # row 1 of one row
            helper.make_node("Add", ["sound", "nothing"], ["scores"]),
        ]
    )
    onnx.save(model, str(folder / "spoilt.onnx"))
    write_bundle(folder, folder / "spoilt.onnx", bundle.manifest, {})


def test_a_camera_goes_over_to_a_model_that_is_loaded_without_being_opened_anew(broker: Broker, folder: Path) -> None:
    cameras = "  a: {url: squares.avi, min_score: 0.2}\n  b: {url: squares.avi, bundle: blobs}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
        wait_for_each(seen, "a b", 3)
        daemon.reload(config(broker, cameras.replace("min_score: 0.2", "bundle: blobs")))
        seen.wait_until(lambda c: newest(c, "config", ConfigMessage).changed == ["a"])
        before = len(detections(seen, "a"))
        seen.wait_until(lambda c: len(detections(c, "a")) >= before + 8)
        info = newest(seen, "info", InfoMessage)
        assert daemon.stop() == 0
    assert labels(detections(seen, "a")[before + 3 :]) == set(LABELS)
    assert not any(
        {found.label for found in message.objects} & QUADRANTS
        and {found.label for found in message.objects} & set(LABELS)
        for message in detections(seen, "a")
    )
    assert [model.cameras for model in info.models] == [[], ["a", "b"]]
    assert daemon.log.count("camera a is online") == 1


def test_a_model_that_is_not_loaded_is_refused_by_a_reload_with_what_to_do(broker: Broker, folder: Path) -> None:
    cameras = "  a: {url: squares.avi}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, cameras)) as daemon:
        wait_for_each(seen, "a", 3)
        daemon.reload(config(broker, "  a: {url: squares.avi, bundle: blobs}\n"))
        seen.wait_until(lambda c: newest(c, "config", ConfigMessage).result == "refused")
        told = newest(seen, "config", ConfigMessage).error
        before = len(detections(seen, "a"))
        seen.wait_until(lambda c: len(detections(c, "a")) >= before + 3)
        assert daemon.stop() == 0
    assert told == (
        f"cameras.a.bundle: the model in {folder / 'blobs'} is not loaded ({folder / 'bundle'}); "
        "restart the service to load it"
    )


CLASSIFIED = "  a: {url: squares.avi, bundle: blobs}\n  q: {url: numbers.avi, min_score: 0.2}\n"


def said(messages: List[DetectionsMessage]) -> List[Dict[str, Any]]:
    """Every object's own label and its colour, if a classifier has spoken."""
    return [
        {"is": found.label, **{name: word.label for name, word in found.attributes.items()}}
        for message in messages
        for found in message.objects
    ]


def test_a_classifier_says_of_each_object_what_it_sees_in_it(broker: Broker, folder: Path) -> None:
    wanted = "classifiers: {colour: {bundle: colours, objects: [white, green], min_size: 8}}\n"
    with collect(broker) as seen, running_daemon(folder, config(broker, CLASSIFIED, wanted)) as daemon:
        wait_for_each(seen, "a q", 10)
        seen.wait_until(lambda c: stats_of(c).classifiers["colour"].crops > 0)
        info = newest(seen, "info", InfoMessage)
        assert daemon.stop() == 0
    told = said(detections(seen, "a"))
    right = dict(zip(LABELS, COLOURS))
    assert len(told) >= 40
    assert all(one == {"is": one["is"], "colour": right[one["is"]]} for one in told)
    assert all(set(one) == {"is"} for one in said(detections(seen, "q")))
    assert all(message.latency_ms.classify > 0 for message in detections(seen, "a"))
    sequence = [message.seq for message in detections(seen, "a")]
    assert sequence == sorted(set(sequence))
    assert (info.classifiers["colour"].labels, info.classifiers["colour"].cameras) == (COLOURS, ["a", "q"])
    assert [model.bundle for model in info.models] == [str(folder / "bundle"), str(folder / "blobs")]


def test_what_a_classifier_is_asked_about_is_reloaded(broker: Broker, folder: Path) -> None:
    wanted = "classifiers: {{colour: {{bundle: colours, objects: [{}], min_size: {}}}}}\n"
    with collect(broker) as seen, running_daemon(
        folder, config(broker, CLASSIFIED, wanted.format("white", 60))
    ) as daemon:
        wait_for_each(seen, "a", 5)
        assert all(set(one) == {"is"} for one in said(detections(seen, "a"))), "16 pixels are too small"
        daemon.reload(config(broker, CLASSIFIED, wanted.format("green", 8)))
        seen.wait_until(lambda c: newest(c, "config", ConfigMessage).changed == ["a", "q"])
        before = len(detections(seen, "a")) + 3
        wait_for_each(seen, "a", before + 8)
        assert daemon.stop() == 0
    told = said(detections(seen, "a")[before:])
    assert all(
        one == ({"is": "green", "colour": COLOURS[1]} if one["is"] == "green" else {"is": "white"}) for one in told
    )
    assert {one["is"] for one in told} == set(LABELS)


@pytest.mark.parametrize(
    ("cameras", "more", "complaint"),
    [
        (
            "  a: {url: x.avi, bundle: blobs, labels: [tl]}\n",
            "",
            "cameras.a.labels: the model in {}/blobs has no label 'tl'",
        ),
        ("  a: {url: x.avi, bundle: colours}\n", "", "cameras.a.bundle: the model in {}/colours is a classifier"),
        ("  a: {url: x.avi, bundle: none}\n", "", "{}/none: no manifest.json there"),
        (
            "  a: {url: x.avi}\n",
            "classifiers: {c: {bundle: blobs}}\n",
            "classifiers.c.bundle: the model in {}/blobs is a detector",
        ),
    ],
)
def test_what_does_not_fit_ends_it_before_anything_starts(
    broker: Broker, folder: Path, cameras: str, more: str, complaint: str
) -> None:
    with running_daemon(folder, config(broker, cameras, more)) as daemon:
        assert daemon.process.wait(60) in (1, 2)
    assert complaint.format(folder) in daemon.log
    assert "Traceback" not in daemon.log
