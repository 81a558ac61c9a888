from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import typer

import converter.cli
import daemon.cli
from sightd import __version__
from sightd.cli import main
from sightd.errors import BundleError, ConfigError
from sightd.settings import Settings, load_settings

CANARY = "hunter2canary"


pytestmark = pytest.mark.usefixtures("logging_as_before")


class Outcome:
    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Cli:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["sightd", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = self._capsys.readouterr()
        return Outcome(exit_.value.code or 0, captured.out, captured.err)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.delenv("SIGHTD_CONFIG", raising=False)
    return Cli(monkeypatch, capsys)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sightd.yaml"
    path.write_text(
        f"node: box\nmqtt: {{username: me, password: {CANARY}}}\n"
        f"cameras: {{front: {{url: 'rtsp://u:{CANARY}@h/x'}}, yard: {{url: yard.mp4, enabled: false}}}}"
    )
    return path


def raising(error: BaseException) -> object:
    """A register() whose one command raises *error*."""

    def fail() -> None:
        raise error

    def register(app: typer.Typer) -> None:
        app.command("fail")(fail)

    return register


# Errors and exit codes


@pytest.mark.parametrize(("error", "code"), [(ConfigError("a bad key"), 2), (BundleError("a bad key"), 1)])
def test_an_error_on_purpose_is_one_message_and_its_code(
    error: Exception, code: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.cli, "register", raising(error))
    outcome = cli("fail")
    assert (outcome.code, outcome.out, outcome.err) == (code, "", "sightd: a bad key\n")


def test_an_unexpected_error_keeps_its_traceback_but_no_password(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.cli, "register", raising(RuntimeError(f"can't open rtsp://u:{CANARY}@h/x")))
    outcome = cli("fail")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "in fail" in outcome.err
    assert "RuntimeError: can't open rtsp://u:***@h/x" in outcome.err
    assert CANARY not in outcome.err


def test_an_interrupt_exits_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.cli, "register", raising(KeyboardInterrupt()))
    outcome = cli("fail")
    assert outcome.code == 130
    assert "Traceback" not in outcome.err


def test_an_interrupt_of_a_real_process_exits_130(tmp_path: Path) -> None:
    fifo = tmp_path / "sightd.yaml"
    os.mkfifo(fifo)  # reading it waits for a writer
    with subprocess.Popen(
        [sys.executable, "-c", "from sightd.cli import main; main()", "check-config", fifo],
        stderr=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    ) as process:
        writer = _open_once_read(fifo, process)
        while process.poll() is None:  # one that comes right before a system call is heeded after that
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        error = process.stderr.read() if process.stderr else b""
    os.close(writer)
    assert (process.returncode, error.strip()) == (130, b"")


def _open_once_read(fifo: Path, reader: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and reader.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.02)
    reader.kill()
    raise AssertionError(reader.communicate())


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["check-config", "--no-such-option"], ["init", "--camera", "x"]]
)
def test_wrong_usage_exits_2_and_says_so(arguments: list[str], cli: Cli) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert "Usage: sightd" in outcome.err


def test_without_a_command_there_is_help_with_the_commands_of_every_program(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.cli, "register", lambda app: app.command("of-daemon")(lambda: None))
    monkeypatch.setattr(converter.cli, "register", lambda app: app.command("of-converter")(lambda: None))
    outcome = cli()
    for command in ("init", "check-config", "of-daemon", "of-converter"):
        assert f"\n  {command}" in outcome.out + outcome.err


def test_version(cli: Cli) -> None:
    outcome = cli("--version")
    assert (outcome.code, outcome.out) == (0, f"sightd {__version__}\n")


def test_a_foreign_daemon_package_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = ModuleType("daemon")
    foreign.__file__ = "/somewhere/python-daemon/daemon/__init__.py"
    monkeypatch.setitem(sys.modules, "daemon", foreign)
    outcome = cli("check-config")
    assert outcome.code == 1
    assert outcome.err.startswith("sightd: the package 'daemon' at /somewhere/python-daemon/daemon/__init__.py")
    assert "virtual environment of its own" in outcome.err


# check-config


def test_check_config_summarises_without_passwords(cli: Cli, config: Path) -> None:
    outcome = cli("check-config", config)
    assert (outcome.code, outcome.err) == (0, "")
    first, bundle, *rest = outcome.out.splitlines()
    assert first == f"{config}: no mistakes found"
    assert bundle.startswith("bundle   /opt/sightd/bundles/default (labels are not checked: ")
    assert rest == [
        "broker   127.0.0.1:1883 as me, topics below sightd/box",
        "camera   front: rtsp://u:***@h/x (at most 10 fps)",
        f"camera   yard: {config.parent}/yard.mp4 (disabled)",
    ]


def test_many_cameras_take_no_longer_than_few_for_each(cli: Cli, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took over a minute for 9000."""
    asked, real = [], Settings.bundle_of

    def counted(self: Settings, camera: str) -> str:
        asked.append(camera)
        return real(self, camera)

    monkeypatch.setattr(Settings, "bundle_of", counted)
    config.write_text("cameras:\n" + "".join(f"  c{number}: {{url: v.avi}}\n" for number in range(300)))
    assert cli("check-config", config).code == 0
    assert len(asked) < 5 * 300


def test_check_config_takes_the_path_from_the_environment(
    cli: Cli, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTD_CONFIG", str(config))
    assert cli("check-config").out.startswith(f"{config}: no mistakes found")


def test_check_config_reports_every_mistake(cli: Cli, config: Path) -> None:
    config.write_text("nod: x\ncameras: {a: {url: 'rtsp://'}}")
    outcome = cli("check-config", config)
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        f"sightd: {config}:1: nod: unknown key; did you mean 'node'?",
        f"{config}:2: cameras.a.url: has no host; write rtsp://host/path",
    ]


def test_check_config_reads_the_password_file(cli: Cli, config: Path) -> None:
    config.write_text("mqtt: {username: me, password_file: gone}\ncameras: {a: {url: x.mp4}}")
    outcome = cli("check-config", config)
    assert outcome.code == 2
    assert "mqtt.password_file" in outcome.err


def test_check_config_prints_the_schema(cli: Cli) -> None:
    outcome = cli("check-config", "--schema")
    assert outcome.code == 0
    assert json.loads(outcome.out)["properties"]["cameras"]


# init


def test_init_writes_what_check_config_accepts_readable_to_owner_and_group(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "etc" / "sightd.yaml"
    monkeypatch.chdir(tmp_path)
    outcome = cli(
        "init",
        path,
        "--camera",
        f"front=rtsp://u:{CANARY}@h/x?a=b",
        "--camera",
        "yard=yard.mp4",
        "--bundle",
        "b",
        "--host",
        "mq",
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert CANARY not in outcome.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    settings = load_settings(path)
    assert settings.cameras["front"].url.get_secret_value() == f"rtsp://u:{CANARY}@h/x?a=b"
    assert settings.cameras["yard"].url.get_secret_value() == str(tmp_path / "yard.mp4")
    assert (settings.bundle, settings.mqtt.host) == (tmp_path / "b", "mq")


def test_init_without_cameras_says_what_is_left_to_do(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("init", tmp_path / "sightd.yaml")
    assert outcome.code == 0
    assert "add your cameras" in outcome.out
    assert "at least one camera" in cli("check-config", tmp_path / "sightd.yaml").err


def test_init_keeps_a_file_that_is_there(cli: Cli, config: Path) -> None:
    before = config.read_text()
    outcome = cli("init", config)
    assert outcome.code == 2
    assert "--force replaces it" in outcome.err
    assert config.read_text() == before
    assert cli("init", config, "--force", "--camera", "a=x.mp4").code == 0
    assert list(load_settings(config).cameras) == ["a"]
    assert stat.S_IMODE(config.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "arguments",
    [
        ["--camera", f"Front=rtsp://u:{CANARY}@h/"],
        ["--camera", f"a=rtps://u:{CANARY}@h/"],
        ["--camera", f"a=rtsp://u:{CANARY}#@h/"],
        ["--camera", f"a=u:{CANARY}@h/"],
        ["--camera", f"a=rtsp://u:{CANARY}@h/", "--camera", "a=x"],
        ["--camera", f"rtsp://u:{CANARY}@h/"],
        ["--host", f"mqtt://u:{CANARY}@broker"],
    ],
)
def test_init_writes_nothing_that_would_not_load(arguments: list[str], cli: Cli, tmp_path: Path) -> None:
    outcome = cli("init", tmp_path / "sightd.yaml", *arguments)
    assert outcome.code == 2
    assert CANARY not in outcome.err
    assert not (tmp_path / "sightd.yaml").exists()


def test_init_suggests_the_key_that_was_meant(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("init", tmp_path / "sightd.yaml", "--set", f"mqtt.pasword={CANARY}")
    assert outcome.code == 2
    assert "'mqtt.pasword' is no key" in outcome.err
    assert "did you mean 'password'?" in " ".join(outcome.err.split())
    assert CANARY not in outcome.err


def test_init_says_why_it_can_not_write(cli: Cli) -> None:
    outcome = cli("init", "/proc/sightd.yaml")
    assert outcome.code == 2
    assert "can't be written (No such file or directory)" in outcome.err
