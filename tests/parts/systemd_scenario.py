"""docs/jetson.md followed to the letter, then the life of the service: run as root inside a booted systemd.

Started by boot_systemd.sh with the system's Python (standard library only); the last line is PASS. /out holds what the
test prepared: src (the checkout), wheels, blobs.onnx with labels.txt, blobs.avi, rtsp_server.py; and takes what is
found: log, journal, topics.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

OUT, CONFIG, SECRETS = Path("/out"), Path("/etc/sightd/sightd.yaml"), Path("/etc/sightd/secrets")
CHECKOUT = Path("/root/sightd")
#: WatchdogSec= of the unit.
WATCHDOG_S = 20
#: In the camera's URL, in the camera's password file, at the broker, at the HTTP endpoint: none may ever be seen.
CANARIES = ("canary-in-url", "camera-password", "broker-password", "http-token")
HTTP_PORT = 9590
#: What the guide says -> what stands for it here.
HERE = {
    "192.0.2.10/stream1": "127.0.0.1:8554/0",
    "--minutes 60": "--minutes 1 --frames 160 --fps 20",
    "yolox_nano.onnx --labels coco80": "/out/blobs.onnx --labels /out/labels.txt",
}
#: Of the guide: what needs the internet; the test did it beforehand.
ELSEWHERE = ("sudo apt-get", "git clone", "git pull")
#: Commands of the guide that go on until they are interrupted.
ENDLESS = "mosquitto_sub -u viewer -P viewer-password -v"

DOWN = "  down: {url: 'rtsp://admin:canary-in-url@127.0.0.1:9/1'}\n"
SILENT = "  silent: {url: 'rtsp://admin@127.0.0.1:9/2', password_file: secrets/camera}\n"
YARD = "  yard: {url: 'rtsp://admin@127.0.0.1:8554/0', password_file: secrets/camera, max_fps: 10}\n"


def main() -> None:
    prepare()
    follow("2 Install")
    follow("3 The broker")
    start_camera()
    follow("4 Cameras and passwords", {"sudo sightd doctor": 1})  # there is no bundle yet
    (SECRETS / "http").write_text("http-token\n")
    (SECRETS / "http").chmod(0o600)
    said("sightd install, again", run("sightd", "install"))
    follow("5 An engine calibrated on your cameras")
    said("the bundle", (Path("/opt/sightd/bundles/default") / "manifest.json").read_text()[:600])
    follow("6 Run")
    follow("7 Change something")
    run("sightd", "doctor")
    said(
        "installed",
        run(
            "bash",
            "-c",
            "find /opt/sightd /etc/sightd /var/lib/sightd /etc/systemd/system /etc/sysusers.d "
            "/usr/local/bin -not -path '*/lib/python*' -not -path '*/lib64/*' -not -path '*/frames/*' | sort",
        ),
    )

    watch_the_topics()
    ready_with_all_cameras_down()
    the_sandbox_lets_it_listen()
    good_reload()
    gstreamer_decodes_in_the_sandbox()
    bad_reload()
    fields_in_the_journal()
    a_hang_is_ended_by_the_watchdog()
    a_crash_is_restarted()
    a_stage_that_hangs_ends_the_service()
    no_core_is_dumped()
    devices_are_denied()
    stop_drains()
    bad_settings_are_not_restarted_in_a_loop()
    passwords_are_nowhere()
    the_sandbox_is_tight()

    upgrade_and_uninstall()
    print("PASS")


def prepare() -> None:
    """No network here: pip finds everything in /out/wheels."""
    os.environ.update(HOME="/root", PIP_NO_INDEX="1", PIP_FIND_LINKS="/out/wheels", PIP_DISABLE_PIP_VERSION_CHECK="1")
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    shutil.copytree("/out/src", CHECKOUT)
    if not shutil.which("sudo"):
        Path("/usr/local/bin/sudo").write_text('#!/bin/sh\nexec "$@"\n')
        Path("/usr/local/bin/sudo").chmod(0o755)
    os.chdir(CHECKOUT)


def follow(section: str, exit_codes: Dict[str, int] = {}) -> None:  # noqa: B006 - never changed
    """Run the commands of one section of the guide, in order."""
    for command in commands(section):
        if command.startswith(ELSEWHERE):
            continue
        for told, here in HERE.items():
            command = command.replace(told, here)  # noqa: PLW2901
        if command.startswith(ENDLESS):
            command = f"timeout 10 {command}"  # noqa: PLW2901
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
        )
        expected = 124 if command.startswith("timeout") else exit_codes.get(command, 0)
        said(f"$ {command}", (done.stdout + done.stderr)[-3000:].strip())
        if done.returncode != expected:
            raise AssertionError(f"exit code {done.returncode}, not {expected}\n{last_of_the_journal()}")


def commands(section: str) -> Iterator[str]:
    guide = (CHECKOUT / "docs" / "jetson.md").read_text()
    (text,) = [part for part in re.split(r"^## ", guide, flags=re.MULTILINE) if part.startswith(section)]
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^\$ (.*)", block.replace("\\\n", " "), re.MULTILINE)


def start_camera() -> None:
    server = ["/usr/bin/python3", "/out/rtsp_server.py", "8554", "admin", "camera-password", "", "/out/blobs.avi"]
    process = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "READY" in process.stdout.readline()


def watch_the_topics() -> None:
    watch = ["mosquitto_sub", "-u", "viewer", "-P", "viewer-password", "-v", "-t", "#"]
    subprocess.Popen(watch, stdout=(OUT / "topics").open("wb"))
    run("systemctl", "stop", "sightd")
    configure(DOWN + SILENT)


def ready_with_all_cameras_down() -> None:
    run("systemctl", "start", "sightd")  # returns when the service is ready
    assert show("ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    until("its status says so", lambda: show("StatusText")["StatusText"].startswith("0 of 2 cameras online"))
    until("the broker heard of it", lambda: newest("available") == "online")
    said("ready with all cameras down", show("StatusText")["StatusText"])
    passwords_are_in_no_command_line()


def the_sandbox_lets_it_listen() -> None:
    """On all addresses, with the token as systemd's credential."""
    answers = {path: fetch(path, "http-token") for path in ("/metrics", "/startup", "/live", "/ready")}
    assert {path: status for path, (status, _) in answers.items()} == {
        "/metrics": 200,
        "/startup": 200,
        "/live": 200,
        "/ready": 503,
    }
    assert 'sightd_camera_state{camera="down",state="offline"} 1.0' in answers["/metrics"][1]
    assert "process_open_fds" in answers["/metrics"][1], "the sandbox shows it its own /proc"
    assert answers["/ready"][1] == "none of 2 enabled cameras is online\n"
    assert fetch("/metrics", "another")[0] == 401
    assert not [text for _, text in answers.values() if any(canary in text for canary in CANARIES)]
    said("the HTTP endpoint in the sandbox", answers["/ready"][1].strip())


def fetch(path: str, token: str) -> Tuple[int, str]:
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def good_reload() -> None:
    configure(DOWN + SILENT + YARD)
    run("systemctl", "reload", "sightd")
    until("the reload is told", lambda: config_topic().get("result") == "applied")
    assert config_topic()["added"] == ["yard"]
    until("the new camera is detected on", lambda: detections() > 5)
    until("the status follows", lambda: show("StatusText")["StatusText"].startswith("1 of 3 cameras online"))
    assert show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    said("a good reload", show("StatusText")["StatusText"])


def gstreamer_decodes_in_the_sandbox() -> None:
    for yard in (YARD.replace("max_fps", "decoder: gstreamer, max_fps"), YARD):
        configure(DOWN + SILENT + yard)
        run("systemctl", "reload", "sightd")
        until("the reload is told", lambda: config_topic().get("changed") == ["yard"])
        so_far = detections()
        until("the camera is detected on again", lambda: detections() > so_far + 15)  # noqa: B023  (called at once)
        if yard != YARD:
            folders = [Path("/proc", number) for number in processes()]
            loaded = [folder for folder in folders if "libgstrtsp" in (folder / "maps").read_text()]
            assert [(folder / "comm").read_text() for folder in loaded] == ["yard\n"]
            own = int(Path(f"/proc/{pid()}/oom_score_adj").read_text())
            killed_first = [int((folder / "oom_score_adj").read_text()) for folder in loaded]
            assert killed_first == [own + 200], (
                "the sandbox lets a decoder offer itself to the kernel before the daemon"
            )
            said("GStreamer in the sandbox", "detected on what it decoded, in a process of its own")


def bad_reload() -> None:
    before = CONFIG.read_text()
    CONFIG.write_text(before.replace("max_fps", "max_fsp"))
    run("systemctl", "reload", "sightd")
    until("the refusal is told", lambda: config_topic().get("result") == "refused")
    assert "did you mean 'max_fps'" in config_topic()["error"]
    so_far = detections()
    until("the old settings stay in force", lambda: detections() > so_far + 5)
    assert show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    said("a bad reload", config_topic()["error"])
    CONFIG.write_text(before)


def fields_in_the_journal() -> None:
    of_camera = run("journalctl", "-u", "sightd", "CAMERA=yard", "-o", "cat")
    assert "camera yard is online" in of_camera
    assert "camera down" not in of_camera
    assert "engine ready" in run("journalctl", "-u", "sightd", "STAGE=inference", "-o", "cat")
    assert "are refused" in run("journalctl", "-u", "sightd", "-p", "err", "-o", "cat")
    said("journalctl -u sightd CAMERA=yard", of_camera.strip())


def a_hang_is_ended_by_the_watchdog() -> None:
    os.kill(pid(), signal.SIGSTOP)
    began = time.monotonic()
    until("it is started again", lambda: show("NRestarts", "ActiveState") == restarts(1), 60)
    assert "watchdog" in run("journalctl", "-u", "sightd", "_PID=1", "-o", "cat").lower()
    took_s = time.monotonic() - began
    assert took_s <= WATCHDOG_S + 5, took_s
    said("SIGSTOP", f"restarted by the watchdog after {took_s:.1f} s")


def a_crash_is_restarted() -> None:
    so_far = detections()
    os.kill(pid(), signal.SIGKILL)
    began = time.monotonic()
    until("the will is heard", lambda: newest("available") == "offline")
    until("it is started again", lambda: show("NRestarts", "ActiveState") == restarts(2), 60)
    until("it detects again", lambda: detections() > so_far + 5)
    said("kill -9", f"offline by its will, detecting again after {time.monotonic() - began:.0f} s")


def a_stage_that_hangs_ends_the_service() -> None:
    """An engine that does not come back from a picture; then the sound one is in service again."""
    before = CONFIG.read_text()
    shutil.copytree("/out/hang/bundle", "/opt/sightd/bundles/hang")
    run("systemctl", "stop", "sightd")
    CONFIG.write_text("bundle: /opt/sightd/bundles/hang\n" + before)
    run("systemctl", "start", "sightd")
    until("the camera is there", lambda: newest("yard/status") == "online", 60)
    began = time.monotonic()
    until("it is started again", lambda: int(show("NRestarts")["NRestarts"]) >= 1, 60)
    took_s = time.monotonic() - began
    assert took_s <= WATCHDOG_S + 5, took_s
    journal = run("journalctl", "-u", "sightd", "-o", "cat", "-n", "200")
    assert "no progress for 10 s in: inference" in journal
    assert "Current thread" in journal
    said("a stage that hangs", f"restarted after {took_s:.1f} s")
    run("systemctl", "stop", "sightd")
    CONFIG.write_text(before)
    run("systemctl", "start", "sightd")


def no_core_is_dumped() -> None:
    limits = Path(f"/proc/{pid()}/limits").read_text()
    (core,) = [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core == ["0", "0"], limits


def devices_are_denied() -> None:
    """A process in the service's control group may open what the drop-in names and nothing else."""
    assert "/dev/nvmap rw" in run("systemctl", "show", "sightd", "-p", "DeviceAllow")
    group = "/sys/fs/cgroup" + show("ControlGroup")["ControlGroup"]
    open_both = (
        f"open('{group}/cgroup.procs', 'w').write('0')\n"
        "for name in ('/dev/null', '/dev/nvmap', '/dev/forbidden'):\n"
        "    try: open(name, 'rb').close(); print(name, 'opened')\n"
        "    except OSError as error: print(name, error.strerror)\n"
    )
    answers = run("/usr/bin/python3", "-c", open_both)
    assert "/dev/null opened" in answers
    assert "/dev/nvmap Operation not permitted" not in answers
    assert "/dev/forbidden Operation not permitted" in answers
    said("devices", answers.strip())


def stop_drains() -> None:
    began = time.monotonic()
    run("systemctl", "stop", "sightd")
    assert newest("available") == "stopped", newest("available")
    assert show("Result")["Result"] == "success"
    last = detections()
    time.sleep(1)
    assert detections() == last
    said("stop", f"drained and said stopped in {time.monotonic() - began - 1:.1f} s")


def bad_settings_are_not_restarted_in_a_loop() -> None:
    before = CONFIG.read_text()
    CONFIG.write_text("cameras: {}\n")
    subprocess.run(["systemctl", "start", "sightd"], capture_output=True, check=False)
    until("it has failed", lambda: show("ActiveState")["ActiveState"] == "failed")
    time.sleep(7)  # longer than RestartSec
    found = show("ActiveState", "ExecMainStatus", "NRestarts")
    assert found["ActiveState"] == "failed"
    assert (found["ExecMainStatus"], found["NRestarts"]) == ("2", "0"), found
    said("bad settings", "exit status 2, not restarted")
    CONFIG.write_text(before)
    run("systemctl", "start", "sightd")
    until("mended settings are started", lambda: newest("available") == "online")
    run("systemctl", "stop", "sightd")


def passwords_are_nowhere() -> None:
    journal = run("journalctl", "-o", "export", "--no-pager")
    (OUT / "journal").write_text(run("journalctl", "-u", "sightd", "-o", "short-monotonic", "--no-pager"))
    topics = (OUT / "topics").read_text()
    report = "".join(path.read_text() for path in Path("/opt/sightd/bundles/default").glob("report.*"))
    said_by_commands = run("sightd", "check-config") + report
    for options in ([], ["--json"]):
        doctor = subprocess.run(["sightd", "doctor", *options], capture_output=True, text=True, check=False)
        said_by_commands += doctor.stdout + doctor.stderr
    for canary in CANARIES:
        assert canary not in said_by_commands, f"{canary} is in a report or what a command says"
        assert canary not in journal, f"{canary} is in the journal"
        assert canary not in topics, f"{canary} is in a topic"
    said("passwords", f"0 in {len(journal)} characters of journal, 0 in {len(topics)} of topics")


def the_sandbox_is_tight() -> None:
    silent = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "sightd.service"], capture_output=True, text=True, check=True
    )
    assert silent.stdout + silent.stderr == "", silent.stderr
    exposure = run("systemd-analyze", "security", "--no-pager", "sightd").strip().splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= 2.0, exposure
    said("sandbox", exposure)


def upgrade_and_uninstall() -> None:
    """Section 8 with another version, then what is left."""
    version = CHECKOUT / "sightd" / "__init__.py"
    version.write_text(re.sub(r'__version__ = "(.+)"', r'__version__ = "\1.post1"', version.read_text()))
    run("systemctl", "start", "sightd")
    follow("8 Upgrade, uninstall")
    assert not Path("/opt/sightd/venv").exists()
    assert not Path("/etc/systemd/system/sightd.service").exists()
    assert CONFIG.exists()
    assert Path("/opt/sightd/bundles/default/manifest.json").exists()
    said("left by uninstall", run("find", "/opt/sightd", "/etc/sightd", "/var/lib/sightd", "-maxdepth", "2"))


def passwords_are_in_no_command_line() -> None:
    """Nor in the environment, for which one has to be root."""
    assert str(pid()) in processes()
    for process in processes():
        seen = Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()
        assert not any(canary.encode() in seen for canary in CANARIES), process


def configure(cameras: str) -> None:
    broker = "{host: 127.0.0.1, username: sightd, password_file: secrets/mqtt}"
    endpoint = f"{{port: {HTTP_PORT}, address: 0.0.0.0, token_file: secrets/http}}"
    CONFIG.write_text(f"node: porch\nstats_interval_s: 1\nmqtt: {broker}\nhttp: {endpoint}\ncameras:\n{cameras}")


def show(*properties: str) -> Dict[str, str]:
    lines = run("systemctl", "show", "sightd", "-p", ",".join(properties)).splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def restarts(count: int) -> Dict[str, str]:
    return {"NRestarts": str(count), "ActiveState": "active"}


def pid() -> int:
    return int(show("MainPID")["MainPID"])


def processes() -> List[str]:
    """All that the service consists of."""
    return Path("/sys/fs/cgroup" + show("ControlGroup")["ControlGroup"], "cgroup.procs").read_text().split()


def detections() -> int:
    return (OUT / "topics").read_text().count("sightd/porch/yard/detections ")


def newest(topic: str) -> str:
    lines = [line for line in (OUT / "topics").read_text().splitlines() if line.startswith(f"sightd/porch/{topic} ")]
    return lines[-1].partition(" ")[2] if lines else ""


def config_topic() -> Dict[str, Any]:
    told: Dict[str, Any] = json.loads(newest("config") or "{}")
    return told


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def until(what: str, holds: Callable[[], bool], deadline_s: float = 30) -> None:
    deadline = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > deadline:
            seen = show("StatusText", "ActiveState", "NRestarts")
            raise AssertionError(f"not within {deadline_s} s: {what}; {seen}\n{last_of_the_journal()}")
        time.sleep(0.1)


def last_of_the_journal() -> str:
    return run("journalctl", "-u", "sightd", "--no-pager", "-n", "60")


def said(what: str, result: str) -> None:
    print(f"## {what}\n{result}")


main()
