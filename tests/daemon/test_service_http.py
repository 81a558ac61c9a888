"""The endpoint of a real daemon: scraped, probed, and left alone by what happens to it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Dict, Iterator

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.http import LOADING
from daemon.http.listener import listen
from daemon.messages import ConfigMessage, StatsMessage
from daemon.service import Service
from demo.ports import free_port
from sightd.serving import Serving
from sightd.settings import load_settings
from tests.parts.broker import Broker, Collector, collect
from tests.parts.clips import write_clip
from tests.parts.daemon import MANIFEST, running_daemon, write_quadrant_bundle
from tests.parts.hanging import let_engine_hang
from tests.parts.http_client import get, wait_for_status
from tests.parts.patient_engine import PatientEngine

TOKEN = "hunter2canary-token"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_quadrant_bundle(tmp_path)
    write_clip(tmp_path / "yard.avi", count=25)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(stat.S_IRUSR | stat.S_IWUSR)
    return tmp_path


@pytest.fixture
def port() -> int:
    return free_port()


def config(broker: Broker, port: int, more: str = "", camera: str = "url: yard.avi") -> str:
    return (
        f"node: box\nmqtt: {{port: {broker.port}}}\nstats_interval_s: 1\n"
        f"http: {{port: {port}{more}}}\ncameras: {{yard: {{{camera}}}}}\n"
    )


def stats_of(seen: Collector) -> Dict[float, StatsMessage]:
    """All that were published, by their uptime."""
    payloads = [message.payload for message in seen.messages if message.topic == "sightd/box/stats"]
    messages = [msgspec.json.decode(payload, type=StatsMessage) for payload in payloads]
    return {message.uptime_s: message for message in messages}


def figures(page: str) -> Dict[str, float]:
    """Name and labels as they are written -> number."""
    return {
        sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_a_scrape_shows_what_the_topic_says(broker: Broker, folder: Path, port: int) -> None:
    with collect(broker) as seen, running_daemon(folder, config(broker, port)) as daemon:
        seen.wait_until(lambda c: any(one.cameras["yard"].inferred > 20 for one in stats_of(c).values()), 60)
        reply = get(port, "/metrics")
        found = figures(reply.body)
        seen.wait_until(lambda c: found["sightd_uptime_seconds"] in stats_of(c), 10)
        assert daemon.stop() == 0
    told = stats_of(seen)[found["sightd_uptime_seconds"]]
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    yard, model = told.cameras["yard"], f"{folder / 'bundle'}"
    assert yard.inferred > 20
    expected = {
        "sightd_camera_frames_received_total|yard": yard.received,
        "sightd_camera_frames_dropped_total|yard": yard.dropped,
        "sightd_camera_frames_inferred_total|yard": yard.inferred,
        "sightd_camera_frames_per_second|yard": yard.fps,
        "sightd_camera_state|yard|online": 1,
        f"sightd_inference_batches_total|{model}": told.models[model].batches,
        f"sightd_inference_frames_total|{model}": told.models[model].frames,
        f"sightd_inference_seconds_total|{model}": told.models[model].infer_s,
        "sightd_messages_published_total": told.publisher.published,
        "sightd_broker_connected": 1,
        f"sightd_broker_info|127.0.0.1:{broker.port}": 1,
        "sightd_outbox_events": told.outbox.depth,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert told.models[model].frames == yard.inferred
    assert told.models[model].infer_s > 0
    assert found["sightd_stats_age_seconds"] < 30
    assert found["process_resident_memory_bytes"] > 20 << 20
    assert f"http: port {port} of 127.0.0.1: listening" in daemon.log
    assert "GET" not in daemon.log


def test_without_a_broker_it_is_not_ready_says_why_and_is_again_later(broker: Broker, folder: Path, port: int) -> None:
    with running_daemon(folder, config(broker, port)) as daemon:
        wait_for_status(port, "/ready", 200, 60)
        broker.kill()
        assert wait_for_status(port, "/ready", 503).body == "no connection to the broker (connecting)\n"
        assert get(port, "/live").status == 200
        assert get(port, "/startup").status == 200
        broker.start()
        assert wait_for_status(port, "/ready", 200).body == "ready: yes\n"
        assert daemon.stop() == 0


def test_without_a_camera_it_is_not_ready(broker: Broker, folder: Path, port: int) -> None:
    with running_daemon(folder, config(broker, port, camera="url: none.avi")):
        wait_for_status(port, "/startup", 200, 60)
        # First the broker may not have been there yet.
        ends_at = time.monotonic() + 30
        while get(port, "/ready").body != "none of 1 enabled cameras is online\n":
            assert time.monotonic() < ends_at
            time.sleep(0.05)


@pytest.mark.slow
def test_a_stage_that_hangs_lives_no_more(broker: Broker, folder: Path, port: int) -> None:
    let_engine_hang(folder / "bundle")
    with running_daemon(folder, config(broker, port)) as daemon:
        wait_for_status(port, "/startup", 200, 60)
        assert get(port, "/live").status == 200
        reply = wait_for_status(port, "/live", 503, 60)
        assert reply.body == "no progress in inference\n"
        assert daemon.process.wait(60) == 1
    assert "no progress for 10 s in: inference of" in daemon.log


def test_metrics_want_the_token_and_probes_do_not(broker: Broker, folder: Path, port: int) -> None:
    with collect(broker) as seen:
        with running_daemon(folder, config(broker, port, ", address: 0.0.0.0, token_file: token")) as daemon:
            wait_for_status(port, "/startup", 200, 60)
            answers = [get(port, "/metrics", token=given) for given in ("", "wrong", TOKEN[:-1], TOKEN + "x", "\xe9")]
            assert [(one.status, one.headers["WWW-Authenticate"]) for one in answers] == [(401, "Bearer")] * 5
            assert {one.body for one in answers} == {"Unauthorized\n"}
            assert wait_for_status(port, "/metrics", 200, token=TOKEN).body.startswith("# HELP")
            answers += [get(port, path, token=TOKEN) for path in ("/metrics", "/live", "/ready", "/x", f"/{TOKEN}")]
            assert daemon.stop() == 0
        payloads = b"".join(message.payload for message in seen.messages)
    assert not [one for one in answers if TOKEN.encode() in one.raw]
    assert TOKEN not in daemon.log
    assert TOKEN.encode() not in payloads


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (None, 0, "http.token_file: {token} can't be read"),
        (TOKEN, 0o644, "everybody on this machine may read {token}"),
        (f"{TOKEN} \xe9", 0o600, "http.token_file: {token} may hold letters, digits and -._~+/= only"),
    ],
)
def test_a_token_that_is_none_is_a_mistake_of_the_settings(
    broker: Broker, folder: Path, port: int, content: str, mode: int, complaint: str
) -> None:
    token = folder / "token"
    token.unlink()
    if content:
        token.write_text(content)
        token.chmod(mode)
    with running_daemon(folder, config(broker, port, ", token_file: token")) as daemon:
        assert daemon.process.wait(60) == 2
    assert complaint.format(token=token) in daemon.log
    assert TOKEN not in daemon.log


def test_a_port_that_another_program_has_costs_the_daemon_nothing(broker: Broker, folder: Path, port: int) -> None:
    other = listen("127.0.0.1", port)
    with other, collect(broker) as seen, running_daemon(folder, config(broker, port)) as daemon:
        seen.wait_until(lambda c: any(one.cameras["yard"].inferred > 5 for one in stats_of(c).values()), 60)
        other.close()
        wait_for_status(port, "/ready", 200)
        assert daemon.stop() == 0
    assert daemon.log.count("Address already in use; trying again") == 1


def test_the_commands_of_the_docs_work_beside_a_proxy_and_show_no_token_to_other_users(
    broker: Broker, folder: Path, port: int
) -> None:
    docs = (Path(__file__).parents[2] / "docs/http.md").read_text("utf-8").replace("9590", f"{port}")
    (health,) = re.findall(r'"CMD", "python3", "-c", "(.*)"\]', docs)
    (scrape,) = re.findall(r"^    (.* http://.*/metrics)$", docs, re.MULTILINE)
    assert "$(" not in scrape, "what a command is given, ps shows everybody"
    scrape = scrape.replace("sudo ", "").replace("/etc/sightd/secrets/http", str(folder / "token"))
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:1"}

    def is_healthy() -> bool:
        return (
            subprocess.run(
                [sys.executable, "-c", health], env=environment, stderr=subprocess.DEVNULL, check=False
            ).returncode
            == 0
        )

    with running_daemon(folder, config(broker, port, ", token_file: token")) as daemon:
        wait_for_status(port, "/startup", 200, 60)
        assert is_healthy()
        if shutil.which("curl"):
            assert b"process_start_time_seconds" in subprocess.check_output(scrape, shell=True)
        assert daemon.stop() == 0
    assert not is_healthy()


def test_who_hangs_in_the_middle_does_not_hold_the_stop_up(broker: Broker, folder: Path, port: int) -> None:
    with running_daemon(folder, config(broker, port)) as daemon:
        wait_for_status(port, "/ready", 200, 60)
        with socket.create_connection(("127.0.0.1", port), 10) as hanging:
            hanging.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
            assert daemon.stop() == 0
    assert "left behind" not in daemon.log


def test_a_reload_says_that_it_waits_for_a_restart(broker: Broker, folder: Path, port: int) -> None:
    def restart_needed(seen: Collector) -> object:
        told = msgspec.json.decode(seen.newest.get("sightd/box/config", b"{}"), type=Dict[str, object])
        return msgspec.convert(told, ConfigMessage).restart_needed if told else None

    with collect(broker) as seen, running_daemon(folder, config(broker, port)) as daemon:
        wait_for_status(port, "/startup", 200, 60)
        daemon.reload(config(broker, 0, ", token_file: token"))
        seen.wait_until(lambda c: restart_needed(c) == ["http.port", "http.token_file"], 30)
        assert get(port, "/startup").status == 200
        assert daemon.stop() == 0


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What loads in a test loads until then."""
    event = threading.Event()
    yield event
    event.set()


def test_while_its_models_load_it_answers_that_it_has_not_started(
    tmp_path: Path, port: int, release: threading.Event
) -> None:
    def open_serving(folder: str) -> Serving:
        release.wait(60)
        return Serving(PatientEngine(), MANIFEST)

    path = tmp_path / "sightd.yaml"
    text = (
        f"mqtt: {{port: 1}}\nhttp: {{port: {port}}}\noutbox: {{folder: outbox}}\ncameras: {{yard: {{url: none.avi}}}}\n"
    )
    path.write_text(text)
    settings = load_settings(path)
    service = Service(settings, dict.fromkeys(settings.bundles, MANIFEST), open_serving, lambda: settings)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        assert wait_for_status(port, "/startup", 503).body == f"{LOADING}\n"
        assert get(port, "/live").status == 200
        assert "sightd_info" not in wait_for_status(port, "/metrics", 200).body
        release.set()
        wait_for_status(port, "/startup", 200)
    finally:
        service.stop()
        thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        get(port, "/live")
