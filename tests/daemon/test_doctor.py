"""`sightd doctor` as a whole: the command, its report, and that no check can break or hold up the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from io import StringIO
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence

import pytest
from rich.console import Console

from daemon.doctor.examine import Check, examine, run_checks
from daemon.doctor.finding import Area, Finding, parted
from daemon.doctor.report import as_json, print_report, summary
from tests.parts.broker import free_port, running_broker
from tests.parts.clips import write_clip
from tests.parts.daemon import command, write_quadrant_bundle
from tests.parts.doctor import BenchMachine

CANARY = "hunter2canary"
AREA = Area("disk")
FINDINGS = [AREA.ok("state", "50 GB free"), AREA.problem("bundles", "full", "rm -r old"), AREA.note("swap", "none")]

TIMEDATECTL = "#!/bin/sh\nprintf 'NTP=no\\nNTPSynchronized=no\\n'\n"
SYSTEMCTL = """#!/bin/sh
printf 'LoadState=loaded\\nUnitFileState=disabled\\nActiveState=failed\\nSubState=failed\\nExecMainStatus=2\\n'
"""


def doctor(
    config: Path,
    *arguments: str,
    programs: Optional[Dict[str, str]] = None,
    modules: Sequence[Path] = (),
    small: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run the command; *programs* (name -> script) come before all others, the folder *small* has 1 MiB of room."""
    bin_folder = config.parent / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name, script in (programs or {}).items():
        (bin_folder / name).write_text(script)
        (bin_folder / name).chmod(0o755)
    path = os.pathsep.join([str(bin_folder), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([*map(str, modules), str(Path(__file__).parents[2])])
    line = command("doctor", "--config", str(config), *arguments)
    if small:
        mount = f'mount -t tmpfs -o size=1m tmpfs {small} && exec "$@"'
        line = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *line]
    env = {**os.environ, "PATH": path, "PYTHONPATH": python_path}
    return subprocess.run(line, capture_output=True, text=True, env=env, timeout=60, check=False)


def levels(printed: str) -> Dict[str, str]:
    return {f"{one['area']}/{one['name']}": one["level"] for one in json.loads(printed)["findings"]}


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[Path]:
    """The settings of a deployment that works."""
    write_quadrant_bundle(tmp_path)
    write_clip(tmp_path / "yard.avi", count=60, width=128, height=96)  # no more than the model needs
    config = tmp_path / "sightd.yaml"
    with running_broker(tmp_path) as broker:
        config.write_text(
            f"bundle: bundle\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n"
            "calibration: {folder: frames}\ncameras: {yard: {url: yard.avi}}\n"
        )
        yield config


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Path]:
    """The settings of a deployment in which hardly anything works."""
    (tmp_path / "letter.mp4").write_text("Dear all")
    (tmp_path / "frames").mkdir()
    config = tmp_path / "sightd.yaml"
    with running_broker(tmp_path, users={"me": "right"}) as broker:
        config.write_text(
            f"bundle: no-bundle\n"
            f"mqtt: {{host: 127.0.0.1, port: {broker.port}, username: me, password: {CANARY}}}\n"
            f"calibration: {{folder: frames}}\n"
            f"cameras:\n  down: {{url: 'rtsp://u:{CANARY}@127.0.0.1:{free_port()}/x'}}\n  letter: {{url: letter.mp4}}\n"
        )
        config.chmod(0o644)
        yield config


class TestCommand:
    def test_of_a_sound_deployment_finds_no_problem(self, sound: Path) -> None:
        done = doctor(sound, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["ok"] is True
        said = levels(done.stdout)
        parts = ("settings/file", "engine/trial", "cameras/yard", "broker/connection", "opencv/H.264")
        assert [said[part] for part in parts] == ["ok"] * 5

    def test_finds_each_of_ten_faults_and_says_how_to_mend_it(self, broken: Path) -> None:
        require_mounts()
        metadata = broken.parent / "modules" / "python_daemon-3.1.2.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text("Metadata-Version: 2.1\nName: python-daemon\nVersion: 3.1.2\n")
        done = doctor(
            broken,
            "--json",
            programs={"timedatectl": TIMEDATECTL, "systemctl": SYSTEMCTL},
            modules=[broken.parent / "modules"],
            small=str(broken.parent / "frames"),
        )
        said = levels(done.stdout)
        expected = {
            "permissions/settings file": "problem",
            "engine/bundle": "problem",
            "cameras/down": "problem",
            "cameras/letter": "problem",
            "broker/connection": "problem",
            "disk/calibration frames": "problem",
            "python/package name": "warning",
            "clock/sync": "warning",
            "service/state": "problem",
            "service/at boot": "warning",
        }
        assert {name: said[name] for name in expected} == expected
        assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
        assert CANARY not in done.stdout + done.stderr
        assert all(one["fix"] for one in json.loads(done.stdout)["findings"] if one["level"] in ("warning", "problem"))

    def test_prints_plain_text_without_a_terminal(self, broken: Path) -> None:
        done = doctor(broken)
        assert (done.returncode, done.stderr) == (1, "")
        assert "\x1b" not in done.stdout
        assert f"           fix: sudo chmod 640 {broken}\n" in done.stdout
        assert "problems" in done.stdout.splitlines()[-1]
        assert CANARY not in done.stdout

    def test_without_settings_looks_at_the_machine_all_the_same(self, tmp_path: Path) -> None:
        done = doctor(tmp_path / "none.yaml", "--json")
        said = levels(done.stdout)
        assert (said["settings/file"], said["platform/architecture"], said["opencv/H.264"]) == ("problem", "ok", "ok")
        assert json.loads(done.stdout)["findings"][0]["fix"] == f"sightd init {tmp_path / 'none.yaml'}"
        assert done.returncode == 1

    def test_starts_with_an_opencv_that_does_not(self, sound: Path) -> None:
        (sound.parent / "modules").mkdir()
        (sound.parent / "modules" / "cv2.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
        done = doctor(sound, "--json", modules=[sound.parent / "modules"])
        said = levels(done.stdout)
        assert (said["opencv/version"], said["cameras/yard"], done.stderr) == ("problem", "problem", "")
        assert '"numpy<2"' in next(one["fix"] for one in json.loads(done.stdout)["findings"] if one["area"] == "opencv")


class TestExamine:
    def test_gives_each_mistake_in_the_settings_with_its_line(self, tmp_path: Path) -> None:
        config = tmp_path / "sightd.yaml"
        config.write_text(f"nodee: x\ncameras: {{front: {{url: 'rtsp://u:{CANARY}@h/x', max_fps: fast}}}}\n")
        found = [finding for finding in examine(BenchMachine(tmp_path), config) if finding.area == "settings"]
        assert [finding.level for finding in found] == ["problem", "problem"]
        assert f"{config}:1: nodee: unknown key" in found[0].says
        assert found[1].fix == f"correct it, then: sightd check-config {config}"
        assert CANARY not in repr(found)


def other() -> List[Finding]:
    return [AREA.ok("other", "seen")]


class TestRunningChecks:
    def test_one_that_fails_is_a_problem_and_hides_nothing(self) -> None:
        def fails() -> Iterator[Finding]:
            yield AREA.ok("first", "seen")
            raise KeyError(f"rtsp://u:{CANARY}@h/x")

        found = run_checks([Check(AREA, fails), Check(AREA, other)], deadline_s=10)
        assert [(one.name, one.level) for one in found] == [("first", "ok"), ("check", "problem"), ("other", "ok")]
        assert "KeyError" in found[1].says
        assert CANARY not in repr(found)

    def test_one_that_hangs_is_a_problem_and_holds_up_nothing(self) -> None:
        never = threading.Event()

        def hangs() -> Iterator[Finding]:
            yield AREA.ok("first", "seen")
            never.wait(60)

        found = run_checks([Check(AREA, hangs, "front"), Check(AREA, other)], deadline_s=0.3)
        never.set()
        assert [(one.name, one.level) for one in found] == [("first", "ok"), ("front", "problem"), ("other", "ok")]

    def test_all_run_at_the_same_time(self) -> None:
        together = threading.Barrier(3)

        def meets() -> List[Finding]:
            together.wait(10)
            return [AREA.ok("met", "")]

        assert len(run_checks([Check(AREA, meets)] * 3, deadline_s=20)) == 3


class TestReport:
    def test_counts_problems_and_warnings(self) -> None:
        assert summary(FINDINGS) == "1 problem"
        assert summary([*FINDINGS, *FINDINGS, AREA.warning("x", "y", "z")]) == "2 problems, 1 warning"
        assert summary(FINDINGS[:1]) == "no problems, no warnings"

    def test_is_one_json_object(self) -> None:
        found = json.loads(as_json(FINDINGS))
        assert found["ok"] is False
        assert found["findings"][1] == {
            "area": "disk",
            "name": "bundles",
            "level": "problem",
            "says": "full",
            "fix": "rm -r old",
        }

    def test_groups_by_area_with_each_fix_below(self) -> None:
        assert self.printed(FINDINGS).splitlines() == [
            "disk",
            "  ok       state: 50 GB free",
            "  problem  bundles: full",
            "           fix: rm -r old",
            "  note     swap: none",
            "1 problem",
        ]

    def test_takes_text_as_it_is(self) -> None:
        assert "[bold]x[/bold] :smile:" in self.printed([AREA.ok("name", "[bold]x[/bold] :smile:")])

    def test_folds_long_lines_on_a_terminal_and_only_there(self) -> None:
        long = [AREA.ok("name", "word " * 60)]
        assert max(map(len, self.printed(long).splitlines())) > 200
        folded = self.printed(long, force_terminal=True, no_color=True, width=60)
        assert folded.count("word") == 60
        assert max(len(line) for line in folded.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()) <= 60

    @staticmethod
    def printed(findings: List[Finding], **options: object) -> str:
        file = StringIO()
        print_report(findings, Console(file=file, highlight=False, **options))
        return file.getvalue()


@pytest.mark.parametrize(
    ("message", "says", "fix"),
    [
        ("x: no such file; write one", "x: no such file", "write one"),
        ("x: can't connect: check the address", "x: can't connect", "check the address"),
        ("x: can't connect (refused): start it", "x: can't connect (refused)", "start it"),
        ("x: stalled", "x: stalled", "do this"),
    ],
)
def test_an_errors_message_is_parted_into_what_is_wrong_and_what_to_do(message: str, says: str, fix: str) -> None:
    assert parted(message, "do this") == (says, fix)


def require_mounts() -> None:
    """Skip where user namespaces, and so a disk of our own, are forbidden."""
    line = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(line, capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
