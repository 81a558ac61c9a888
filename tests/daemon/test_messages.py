from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import jsonschema
import msgspec
import numpy as np
import pytest
from ruamel.yaml import YAML

from daemon import messages
from daemon.batches import StageTimes
from daemon.commands import OFF, ON
from daemon.messages import (
    CalibrationStats,
    CameraStats,
    ClassifierStats,
    ClockStats,
    CommandStats,
    ConfigMessage,
    DetectionsMessage,
    EngineInfo,
    EngineStats,
    EventMessage,
    InfoMessage,
    MemoryStats,
    ModelInfo,
    OutboxStats,
    PublisherStats,
    QueueStats,
    StatsMessage,
    TrackedObject,
    encode,
    encode_detections,
)
from daemon.outbox import Message
from daemon.topics import Topics
from sightd.types import Attribute, Detections, Frame

DOCS = Path(__file__).parents[2] / "docs"
LABELS = ["person", "car"]
TIMES = StageTimes(decode_s=0.002, wait_s=0.0105, resize_s=0.0004, infer_s=0.02, post_s=0.0012345)
ENGINE = EngineInfo(kind="onnxruntime", precision="int8", sha256="0f" * 32)
INFO = InfoMessage(
    version="0.1.0",
    node="porch",
    model="yolox_nano.onnx",
    engine=ENGINE,
    labels=LABELS,
    cameras=["gate", "yard"],
    models=[ModelInfo("/opt/b", "yolox_nano.onnx", ENGINE, LABELS, ["gate"], "")],
    classifiers={"type": ModelInfo("/opt/c", "types.onnx", ENGINE, ["van", "suv"], ["gate"], "an earlier one serves")},
)
STATS = StatsMessage(
    uptime_s=12.5,
    boot_id="a1b2c3d4",
    cameras={
        "gate": CameraStats("online", 14.9, 200, 3, 197),
        "yard": CameraStats("frozen", 0.0, 9, 0, 9, "stalled, no picture for 2.0 s"),
    },
    engine=EngineStats(batches=99, mean_batch=1.99, infer_ms=20.5, frames=197, infer_s=2.03),
    models={"/opt/b": EngineStats(batches=99, mean_batch=1.99, infer_ms=20.5, frames=197, infer_s=2.03)},
    classifiers={"type": ClassifierStats(crops=40, skipped=2)},
    queue=QueueStats(depth=0, dropped=0),
    outbox=OutboxStats("", depth=3, stored=2, unsaved=0, dropped={"age": 1}, quarantined=0, set_aside=0, oldest_s=1.5),
    publisher=PublisherStats(
        connected=True,
        broker="127.0.0.1:1883",
        state="connected",
        state_s=12.5,
        away_s=0.1,
        published=197,
        dropped=0,
        connections=1,
        refusals={"Server busy": 1},
        last_refusal="Server busy: 127.0.0.1:1883",
        denied=2,
        denials={"Not authorized": 2},
        last_denial="Not authorized: sightd/porch/gate/status",
        denies="Not authorized: sightd/porch/gate/status",
    ),
    commands=CommandStats(accepted=1, refused={"retained": 1}),
    calibration=CalibrationStats(state="on", frames=120, kept=3, refused={"duplicate": 40, "black": 2}, skipped=0),
    rss_mb=123.4,
    memory=MemoryStats(used_mb=210.0, limit_mb=2048.0, given_up=["calibration", "camera yard"]),
    clock=ClockStats(jumps=1, last_jump_s=-3600.2),
)
CAR = TrackedObject(
    id="1700000000.123-a1b2c3d4-12",
    track_id=12,
    camera="gate",
    frame_time=1700000000.723,
    label="car",
    score=0.8,
    top_score=0.912,
    start_time=1700000000.123,
    end_time=None,
    box=[10, 20, 110, 720],
    area=70000,
    ratio=0.14,
    stationary=False,
    motionless_count=0,
    position_changes=0,
    attributes={"type": Attribute("van", 0.75)},
)
GONE = msgspec.structs.replace(CAR, end_time=1700000009.5)


def detections(*rows: List[float]) -> Detections:
    """Each row is x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


CLASSIFIED = replace(
    detections([10, 20, 110, 720, 0.9, 1], [1, 2, 3, 4, 0.8, 0]), attributes=({"type": Attribute("van", 0.75)}, {})
)


def encoded(found: Detections, **changes: Any) -> bytes:
    fields: Dict[str, Any] = {
        "camera": "gate",
        "seq": 7,
        "captured_at": 1700000000.12345,
        "captured_mono": 5.0,
        "decode_s": 0.002,
        "image": np.zeros((720, 1280, 3), np.uint8),
        **changes,
    }
    ids, told = range(1, len(found) + 1), {"boot_id": "a1b2c3d4", "published_at": 1700000000.15649}
    return encode_detections(Frame(**fields), found, ids, LABELS, TIMES, **told)


def asyncapi() -> Dict[str, Any]:
    document: Dict[str, Any] = YAML(typ="safe").load(DOCS / "asyncapi.yaml")
    return document


def validator(message: str) -> jsonschema.Draft7Validator:
    document = asyncapi()
    payload = document["components"]["messages"][message]["payload"]
    return jsonschema.Draft7Validator({**payload, "components": document["components"]})


def schema_of(name: str) -> Dict[str, Any]:
    schema: Dict[str, Any] = asyncapi()["components"]["schemas"][name]
    return schema


def test_detections_are_rounded_and_complete() -> None:
    found = detections([10.04, 20.06, 110.123, 720, 0.91249, 1], [0, 0, 1280, 360, 0.5, 0])
    assert json.loads(encoded(found)) == {
        "camera": "gate",
        "seq": 7,
        "frame_id": "a1b2c3d4-gate-7",
        "captured_at": 1700000000.123,
        "published_at": 1700000000.156,
        "width": 1280,
        "height": 720,
        "latency_ms": {
            "decode": 2.0,
            "wait": 10.5,
            "resize": 0.4,
            "infer": 20.0,
            "post": 1.23,
            "classify": 0.0,
            "total": 34.13,
        },
        "objects": [
            {
                "track_id": 1,
                "label": "car",
                "score": 0.912,
                "box": [10.0, 20.1, 110.1, 720],
                "box_norm": [0.0078, 0.0279, 0.086, 1],
            },
            {"track_id": 2, "label": "person", "score": 0.5, "box": [0, 0, 1280, 360], "box_norm": [0, 0, 1, 0.5]},
        ],
    }


def test_what_classifiers_say_is_told_of_the_object_and_of_no_other() -> None:
    car, person = json.loads(encoded(CLASSIFIED))["objects"]
    assert car["attributes"] == {"type": {"label": "van", "score": 0.75}}
    assert "attributes" not in person
    assert CLASSIFIED.where(np.array([False, True])).attributes == ({},)


def test_no_number_is_written_with_float32_noise() -> None:
    rows = np.random.default_rng(1).random((200, 6)) * (1280, 720, 1280, 720, 1, 2)
    decimals = re.findall(rb"\.(\d+)", encoded(detections(*rows.tolist())))
    assert len(decimals) > 1000
    assert max(map(len, decimals)) == 4


def test_a_frame_without_objects_has_an_empty_list() -> None:
    assert json.loads(encoded(detections()))["objects"] == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 3, 4])
def test_an_object_that_is_not_finite_is_left_out(bad: float, place: int) -> None:
    broken = [1.0, 2.0, 3.0, 4.0, 0.9, 0]
    broken[place] = bad
    payload = encoded(detections(broken, [5, 6, 7, 8, 0.8, 1]))
    assert b"null" not in payload
    assert b"NaN" not in payload
    assert [(item["label"], item["track_id"]) for item in json.loads(payload)["objects"]] == [("car", 2)]


def test_labels_that_are_not_the_models_are_an_error_and_never_a_wrong_word() -> None:
    with pytest.raises(IndexError):
        encoded(detections([1, 2, 3, 4, 0.9, len(LABELS)]))


def test_names_are_escaped() -> None:
    assert json.loads(encoded(detections(), camera='Büro "2"\\'))["frame_id"] == 'a1b2c3d4-Büro "2"\\-7'


def test_a_consumer_can_decode_into_the_same_type() -> None:
    message = msgspec.json.decode(encoded(detections([1, 2, 3, 4, 0.9, 0])), type=DetectionsMessage)
    assert message.objects[0].box == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ("detections", encoded(detections([10, 20, 110, 720, 0.9, 1]))),
        ("detections", encoded(detections())),
        ("detections", encoded(CLASSIFIED)),
        ("events", encode(EventMessage("new", 1, "a1b2c3d4", CAR, CAR))),
        ("events", encode(EventMessage("end", 2, "a1b2c3d4", CAR, GONE))),
        ("info", encode(INFO)),
        ("stats", encode(STATS)),
        ("config", encode(ConfigMessage(1700000000.1, "refused", "sightd.yaml:3: cameras: is missing"))),
        ("config", encode(ConfigMessage(1700000000.1, "applied", added=["yard"], restart_needed=["mqtt.host"]))),
    ],
)
def test_real_json_matches_the_asyncapi_document(message: str, payload: bytes) -> None:
    validator(message).validate(json.loads(payload))


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        *[("available", word) for word in (messages.ONLINE, messages.STOPPED, messages.OFFLINE)],
        *[("enabledState", word) for word in (ON, OFF)],
        *[("enabledSet", word) for word in (ON, OFF)],
        *[("status", word) for word in (messages.CAMERA_ONLINE, messages.CAMERA_OFFLINE, messages.CAMERA_DISABLED)],
    ],
)
def test_the_plain_words_are_those_of_the_asyncapi_document(message: str, payload: bytes) -> None:
    validator(message).validate(payload.decode())


@pytest.mark.parametrize(("page", "message"), [("mqtt.md", "detections"), ("events.md", "events")])
def test_the_example_in_the_docs_is_a_real_message(page: str, message: str) -> None:
    (example,) = re.findall("```json\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    validator(message).validate(json.loads(example))


def test_the_document_refuses_what_we_never_send() -> None:
    good = json.loads(encoded(detections([10, 20, 110, 720, 0.9, 1])))
    for change in ({"extra": 1}, {"seq": -1}, {"captured_at": None}, {"objects": [{"label": "car"}]}):
        assert not validator("detections").is_valid({**good, **change}), change
    assert not validator("available").is_valid("gone")


@pytest.mark.parametrize(
    ("schema", "struct"),
    [
        ("Detections", DetectionsMessage),
        ("Object", messages.DetectedObject),
        ("Event", EventMessage),
        ("TrackedObject", TrackedObject),
        ("Latency", messages.LatencyMs),
        ("Info", InfoMessage),
        ("Engine", EngineInfo),
        ("Model", ModelInfo),
        ("Config", ConfigMessage),
        ("Stats", StatsMessage),
        ("CameraStats", CameraStats),
        ("PublisherStats", PublisherStats),
        ("CommandStats", CommandStats),
        ("EngineStats", EngineStats),
        ("ClassifierStats", ClassifierStats),
    ],
)
def test_the_document_has_exactly_our_fields(schema: str, struct: Any) -> None:
    documented = schema_of(schema)
    left_out = set(struct.__struct_fields__[-1:]) if struct.__struct_config__.omit_defaults else set()
    assert sorted(documented["properties"]) == sorted(struct.__struct_fields__)
    assert set(documented["required"]) == set(struct.__struct_fields__) - left_out
    assert documented["additionalProperties"] is False


def test_the_documents_version_is_the_schema_that_info_tells() -> None:
    assert asyncapi()["info"]["version"] == str(messages.SCHEMA)
    assert schema_of("Info")["properties"]["schema"]["const"] == messages.SCHEMA


def test_the_documents_addresses_are_our_topics() -> None:
    topics = Topics("{prefix}")
    addresses = {name: channel["address"] for name, channel in asyncapi()["channels"].items()}
    assert addresses == {
        "available": topics.available,
        "info": topics.info,
        "config": topics.config,
        "stats": topics.stats,
        "status": topics.status("{camera}"),
        "detections": topics.detections("{camera}"),
        "events": topics.events("{camera}"),
        "objects": topics.objects("{camera}", "label").replace("/label", "/{label}"),
        "enabledSet": topics.commands.replace("+", "{camera}"),
        "enabledState": topics.enabled_state("{camera}"),
    }


def test_what_is_retained_in_the_document_and_events_are_sent_with_qos_1() -> None:
    for name, operation in asyncapi()["operations"].items():
        if operation["action"] == "receive":
            continue
        binding, seq = operation["bindings"]["mqtt"], int(name == "sendEvents")
        assert binding["qos"] == Message("topic", b"", retain=binding["retain"], seq=seq).qos
