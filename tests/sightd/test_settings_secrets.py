from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightd.errors import ConfigError
from sightd.redact import redact
from sightd.settings import Settings, parse_settings, read_secret, secret_path

CANARY = "hunter2canary"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return written(tmp_path / "secret", f"{CANARY}\n".encode())


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_secret(path, "mqtt.password_file")
    message = str(caught.value)
    assert message.startswith(f"mqtt.password_file: {path} ") or f" {path}" in message
    assert CANARY not in message
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return message


# A file with a secret


@pytest.mark.parametrize("mode", [0o002, 0o004, 0o644, 0o604, 0o666])
def test_a_secret_that_everybody_may_read_or_write_is_refused_with_the_command_that_helps(
    mode: int, secret: Path
) -> None:
    secret.chmod(mode)
    assert refusal(secret).endswith(f"run: chmod o= {secret}")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
def test_a_secret_for_the_owner_or_the_group_is_read(mode: int, secret: Path) -> None:
    secret.chmod(mode)
    assert read_secret(secret, "x") == CANARY


def test_only_the_line_end_is_no_part_of_the_secret(tmp_path: Path) -> None:
    for end in (b"", b"\n", b"\r\n", b"\n\n"):
        assert read_secret(written(tmp_path / "secret", b" p \xc3\xb6 " + end), "x") == " p ö "


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (CANARY.encode() + b"\xff", "not UTF-8"),
        (CANARY.encode() * 400, "larger than 4 KiB"),
        (f"user: me\npassword: {CANARY}\n".encode(), "more than one line"),
    ],
)
def test_what_is_no_password_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    assert complaint in refusal(written(tmp_path / "secret", content))


def test_no_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "gone")
    assert "is no file" in refusal(tmp_path)
    assert "is no file" in refusal(Path("/dev/zero"))


def test_a_credential_of_systemd_comes_before_the_file_of_the_same_name(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert read_secret(secret, "x") == CANARY
    written(credentials / "secret", b"of systemd", 0o400)
    assert read_secret(secret, "x") == "of systemd"
    assert read_secret(Path("/only/root/sees/secret"), "x") == "of systemd"
    assert secret_path(secret, "x") == credentials / "secret"


# A camera's password


def parse(cameras: str, defaults: str = "") -> Settings:
    return parse_settings(f"camera_defaults: {{{defaults}}}\ncameras: {{a: {{{cameras}}}}}".encode(), Path("/c.yaml"))


def mistake(cameras: str, defaults: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        parse(cameras, defaults)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("rtsp://u@h/x?a=b#c", f"rtsp://u:{CANARY}@h/x?a=b#c"),
        ("RTSP://U@H:554", f"rtsp://U:{CANARY}@H:554"),
        ("http://u%40x@[::1]:80/", f"http://u%40x:{CANARY}@[::1]:80/"),
    ],
)
def test_the_password_is_put_behind_the_user(url: str, address: str, secret: Path) -> None:
    assert parse(f"url: '{url}', password_file: {secret}").cameras["a"].address() == address
    assert parse(f"url: '{url}'", f"password_file: {secret}").cameras["a"].address() == address


def test_what_means_something_in_a_url_is_encoded_and_hidden_in_logs(tmp_path: Path) -> None:
    secret = written(tmp_path / "secret", b"p@s/?#: %\xc3\xb6")
    address = parse(f"url: rtsp://u@h/x, password_file: {secret}").cameras["a"].address()
    assert address == "rtsp://u:p%40s%2F%3F%23%3A%20%25%C3%B6@h/x"
    assert redact(address) == "rtsp://u:***@h/x"


def test_without_a_password_file_the_address_is_the_url(tmp_path: Path, secret: Path) -> None:
    assert parse("url: 'rtsp://u:p@h/x'").cameras["a"].address() == "rtsp://u:p@h/x"
    common = f"password_file: {secret}"
    assert parse("url: 'rtsp://u:p@h/x', password_file: null", common).cameras["a"].address() == "rtsp://u:p@h/x"
    for file in ("/media/x.mp4", "file:///media/x.mp4"):
        assert parse(f"url: '{file}'", common).cameras["a"].address() == "/media/x.mp4"


def test_a_url_that_can_not_take_the_password_is_a_mistake_at_the_url() -> None:
    assert "/c.yaml:2: cameras.a.url: needs the user name" in mistake("url: rtsp://h/x, password_file: f")
    assert "password_file: null beside it" in mistake("url: rtsp://h/x", "password_file: f")
    for url in (f"rtsp://u:{CANARY}@h/x", "rtsp://u:@h/x"):
        message = mistake(f"url: '{url}', password_file: f")
        assert "cameras.a.url: has a password already" in message
        assert CANARY not in message
    assert "cameras.a.url: takes no password" in mistake("url: /media/x.mp4, password_file: f")


def test_a_missing_password_file_is_an_error_when_the_camera_is_opened(tmp_path: Path) -> None:
    camera = parse(f"url: rtsp://u@h/x, password_file: {tmp_path}/gone").cameras["a"]
    with pytest.raises(ConfigError, match="No such file"):
        camera.address()


def test_the_password_is_in_no_picture_of_the_settings(secret: Path) -> None:
    settings = parse(f"url: rtsp://u@h/x, password_file: {secret}")
    assert CANARY in settings.cameras["a"].address()
    assert CANARY not in repr(settings) + str(settings) + json.dumps(settings.model_dump(mode="json"))
