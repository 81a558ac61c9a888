"""The stats message as metrics: nothing forgotten, nothing wrong, nothing that costs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple, get_type_hints

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.commands import _ADVICE
from daemon.http.families import FAMILIES, Snapshot
from daemon.http.metrics import Metrics
from daemon.messages import StatsMessage
from sightd import __version__
from tests.daemon.test_messages import STATS

CHECKOUT = Path(__file__).parents[2]
Samples = Dict[Tuple[str, Tuple[Tuple[str, str], ...]], float]

#: Figures without a family of their own, and where they are told.
ELSEWHERE = {
    "boot_id": "a label of sightd_info",
    "rss_mb": "process_resident_memory_bytes",
    "engine.*": "the sum of models",
    "models.*.mean_batch": "frames by batches",
    "models.*.infer_ms": "seconds by batches",
    "publisher.denied": "the sum of denials",
    # Sentences, of which there may be any number, each a series for ever; each has a word or a reason beside it.
    "cameras.*.reason": "the log and the topic",
    "publisher.last_refusal": "the log and the topic",
    "publisher.last_denial": "the log and the topic",
}


def page(stats: StatsMessage = STATS) -> str:
    return Metrics(lambda: Snapshot(stats, time.monotonic())).page().body.decode()


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures(struct: Any, path: str = "") -> Iterator[str]:
    """Every figure that a message can hold, as the families name it."""
    for name, kind in get_type_hints(struct).items():
        if path + name == "engine":
            yield "engine.*"
        elif getattr(kind, "__origin__", None) is dict:
            of = kind.__args__[1]
            yield from figures(of, f"{path}{name}.*.") if hasattr(of, "__struct_fields__") else [f"{path}{name}.*"]
        elif hasattr(kind, "__struct_fields__"):
            yield from figures(kind, f"{path}{name}.")
        else:
            yield path + name


def test_every_figure_of_the_stats_message_is_a_metric_or_said_to_be_told_elsewhere() -> None:
    """Who adds one to the message is reminded here."""
    told = [family.path for family in FAMILIES]
    assert len(told) == len(set(told))
    assert sorted([*told, *ELSEWHERE]) == sorted(figures(StatsMessage))


def test_names_follow_prometheus_conventions() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"sightd_[a-z]+(_[a-z]+)*", name) for name in names)
    assert not [name for name in names if re.search(r"_(ms|mb|s|count|seconds_total_seconds)$", name)]
    kinds = {family.name: family.type for family in text_string_to_metric_families(page())}
    assert {kinds[name.replace("_total", "")] for name in names if name.endswith("_total")} == {"counter"}
    assert {kinds[name] for name in names if not name.endswith("_total")} == {"gauge"}


def test_counters_gauges_and_words_say_what_the_message_does_in_base_units() -> None:
    found = samples(page())
    expected: Samples = {
        ("sightd_uptime_seconds", ()): 12.5,
        ("sightd_camera_frames_received_total", (("camera", "gate"),)): 200,
        ("sightd_camera_frames_dropped_total", (("camera", "gate"),)): 3,
        ("sightd_camera_state", (("camera", "yard"), ("state", "frozen"))): 1,
        ("sightd_camera_state", (("camera", "yard"), ("state", "online"))): 0,
        ("sightd_inference_frames_total", (("model", "/opt/b"),)): 197,
        ("sightd_inference_seconds_total", (("model", "/opt/b"),)): 2.03,
        ("sightd_classifier_crops_skipped_total", (("classifier", "type"),)): 2,
        ("sightd_outbox_events_dropped_total", (("reason", "age"),)): 1,
        ("sightd_outbox_events_dropped_total", (("reason", "full"),)): 0,
        ("sightd_outbox_oldest_event_seconds", ()): 1.5,
        ("sightd_outbox_trouble", ()): 0,
        ("sightd_broker_connected", ()): 1,
        ("sightd_broker_state", (("state", "connected"),)): 1,
        ("sightd_broker_info", (("broker", "127.0.0.1:1883"),)): 1,
        ("sightd_broker_refusals_total", (("reason", "Server busy"),)): 1,
        ("sightd_broker_denials_total", (("reason", "Not authorized"),)): 2,
        ("sightd_commands_refused_total", (("reason", "retained"),)): 1,
        ("sightd_calibration_frames_refused_total", (("reason", "duplicate"),)): 40,
        ("sightd_memory_used_bytes", ()): 210 << 20,
        ("sightd_memory_limit_bytes", ()): 2048 << 20,
        ("sightd_memory_given_up", ()): 2,
        ("sightd_clock_last_jump_seconds", ()): -3600.2,
        ("sightd_info", (("boot_id", "a1b2c3d4"), ("version", __version__))): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert 0 <= found["sightd_stats_age_seconds", ()] < 60


def test_troubles_show() -> None:
    outbox = msgspec.structs.replace(STATS.outbox, trouble="database or disk is full")
    broker = msgspec.structs.replace(STATS.publisher, state="refused: Not authorized", connected=False)
    memory = msgspec.structs.replace(STATS.memory, limit_mb=0)
    found = samples(page(msgspec.structs.replace(STATS, outbox=outbox, publisher=broker, memory=memory)))
    assert found["sightd_outbox_trouble", ()] == 1
    assert found["sightd_broker_state", (("state", "refused"),)] == 1
    assert sum(value for (name, _), value in found.items() if name == "sightd_broker_state") == 1
    assert found["sightd_memory_limit_bytes", ()] == float("inf"), "a share of 0 would be infinite, and raise an alarm"


def test_a_brokers_words_can_not_break_the_page() -> None:
    evil = 'no"} 1\nsightd_broker_connected 0\n# \\'
    text = page(msgspec.structs.replace(STATS, publisher=msgspec.structs.replace(STATS.publisher, denials={evil: 7})))
    found = samples(text)
    assert found["sightd_broker_denials_total", (("reason", evil),)] == 7
    assert found["sightd_broker_connected", ()] == 1


def test_reasons_that_we_give_ourselves_begin_at_nought() -> None:
    """The first one would be no increase else."""
    commands = msgspec.structs.replace(STATS.commands, refused={})
    found = samples(page(msgspec.structs.replace(STATS, commands=commands)))
    told = {
        dict(labels)["reason"]: value for (name, labels), value in found.items() if name.endswith("ds_refused_total")
    }
    assert told == dict.fromkeys(_ADVICE, 0.0)


def test_before_the_first_stats_there_is_the_process_alone() -> None:
    found = samples(Metrics(lambda: None).page().body.decode())
    assert {name.split("_")[0] for name, _ in found} == {"process"}
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    assert abs(found["process_start_time_seconds", ()] - time.time()) < 24 * 3600


def test_a_page_of_32_cameras_takes_less_than_10_ms() -> None:
    cameras = {f"camera-{number}": STATS.cameras["gate"] for number in range(32)}
    metrics = Metrics(lambda: Snapshot(msgspec.structs.replace(STATS, cameras=cameras), 0.0))
    took_s = []
    for _ in range(20):
        began = time.perf_counter()
        metrics.page()
        took_s.append(time.perf_counter() - began)
    assert min(took_s) < 0.01  # the machine may be busy with other things


def test_prometheus_client_is_imported_in_one_file_and_not_without_a_port() -> None:
    sources = [path for folder in ("sightd", "daemon", "converter") for path in (CHECKOUT / folder).rglob("*.py")]
    importing = [
        path.name for path in sources if re.search(r"^\s*(from|import) prometheus_client", path.read_text(), re.M)
    ]
    assert importing == ["metrics.py"]
    program = "import daemon.service, sys; print('prometheus_client' in sys.modules, 'daemon.http' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=CHECKOUT, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_guide_names_every_metric_and_no_other() -> None:
    guide = (CHECKOUT / "docs" / "http.md").read_text("utf-8")
    named, start = set(), ""
    for name in re.findall(r"`(sightd_[a-z_]+|_[a-z_]+)`", guide):
        if name.startswith("sightd"):
            named.add(name)
            start = name
        else:
            parts = start.split("_")
            named |= {"_".join(parts[:count]) + name for count in range(2, len(parts))}
    alarms = set(re.findall(r"\bsightd_[a-z_]+", guide.partition("groups:")[2].partition("```")[0]))
    families = {family.name for family in FAMILIES} | {"sightd_info", "sightd_stats_age_seconds"}
    assert families <= named
    assert set(re.findall(r"`(sightd_[a-z_]+)`", guide)) <= families
    assert len(alarms) == 5
    assert alarms <= families


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_says_what_it_is(family: Any) -> None:
    assert f"# HELP {family.name} {family.help}\n" in page()
