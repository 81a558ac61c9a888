"""Passwords, and the token of the HTTP endpoint, in a daemon that fails in every way it can: none is ever seen.

Under a real systemd, with its journal: tests/parts/systemd_scenario.py.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from typing import List

import pytest

from demo.ports import free_port
from tests.parts.broker import collect, running_broker
from tests.parts.clips import write_clip
from tests.parts.daemon import command, running_daemon, write_quadrant_bundle

CANARY = "hunter2canary"
USERS = {"sightd": f"{CANARY}-broker", "viewer": "viewer"}
#: Run by Python before anything of ours: a stage, and a thread of another library, die of a URL.
FAULTS = f"""
import threading, time
def die(slots, choose, timeout_s): raise RuntimeError("cv2.error: can't open rtsp://admin:{CANARY}-url@192.0.2.1/1")
def alien(): raise ValueError("gst: rtspsrc location=rtsp://admin:{CANARY}-url@192.0.2.1/1 user-pw={CANARY}-url")
unprepared = threading.excepthook
def install():
    while threading.excepthook is unprepared: time.sleep(0.05)
    from daemon.slots import FrameSlots
    FrameSlots.take = die
    threading.Thread(target=alien).start()
threading.Thread(target=install, daemon=True).start()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_quadrant_bundle(tmp_path)
    write_clip(tmp_path / "yard.avi", count=25)
    (tmp_path / "broker").mkdir()
    (tmp_path / "token").write_text(f"{CANARY}-http")
    (tmp_path / "token").chmod(0o600)
    return tmp_path


def config(port: int, more: str = "") -> str:
    return (
        f"node: box\nstats_interval_s: 1\nmqtt: {{port: {port}, username: sightd, password: {CANARY}-broker}}\n"
        f"http: {{port: {free_port()}, token_file: token}}\n{more}cameras:\n  yard: {{url: yard.avi}}\n"
        f"  far: {{url: 'rtsp://admin:{CANARY}-url@127.0.0.1:9/1?token={CANARY}-token'}}\n"
    )


broker_of_two = partial(running_broker, users=USERS)


def seen_of(process: int) -> bytes:
    """What any user sees of it with ps, and root in its environment."""
    return Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()


def test_in_no_log_topic_or_command_line_of_a_daemon_that_is_reloaded_and_crashes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with broker_of_two(folder / "broker") as broker, collect(broker, user=("viewer", "viewer")) as seen:
        with running_daemon(folder, config(broker.port)) as daemon:
            assert CANARY.encode() not in seen_of(daemon.process.pid)
            assert daemon.process.wait(60) == 1
        seen.wait_until(lambda c: "sightd/box/available" in c.newest)
        log = daemon.log
        payloads = b"".join(message.topic.encode() + message.payload for message in seen.messages)
    assert "inference failed" in log
    assert "Traceback" in log
    assert "uncaught: ValueError" in log
    assert "rtsp://admin:***@192.0.2.1/1" in log
    assert CANARY not in log
    assert b"available" in payloads
    assert CANARY.encode() not in payloads


def test_in_no_reload_that_is_refused(folder: Path) -> None:
    with broker_of_two(folder / "broker") as broker, collect(broker, user=("viewer", "viewer")) as seen:
        with running_daemon(folder, config(broker.port)) as daemon:
            seen.wait_for("sightd/box/available", b"online", 60)
            daemon.reload(config(broker.port, f"mqtt: {{password: {CANARY}}}\nnode: 'rtsp://u:{CANARY}@h/'\n"))
            seen.wait_until(lambda c: b"refused" in c.newest.get("sightd/box/config", b""), 30)
            assert daemon.stop() == 0
        payloads = b"".join(message.payload for message in seen.messages)
    assert CANARY not in daemon.log
    assert CANARY.encode() not in payloads


@pytest.mark.parametrize("arguments", [["check-config"], ["doctor", "--config"], ["doctor", "--json", "--config"]])
def test_in_no_commands_output(folder: Path, arguments: List[str]) -> None:
    path = folder / "sightd.yaml"
    path.write_text("bundle: bundle\n" + config(1))
    done = subprocess.run(command(*arguments, str(path)), capture_output=True, text=True, timeout=100, check=False)
    assert "far" in done.stdout
    assert CANARY not in done.stdout + done.stderr
