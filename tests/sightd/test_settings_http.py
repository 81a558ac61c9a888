"""The section `http`: who may reach the endpoint, and what he has to show."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightd.errors import ConfigError
from sightd.settings import HttpSettings, parse_settings

CANARY = "hunter2canary"
CAMERA = "cameras: {front: {url: 'rtsp://h/'}}\n"


def parse(section: str) -> HttpSettings:
    return parse_settings(f"{CAMERA}http: {{{section}}}\n".encode(), Path("/etc/sightd/sightd.yaml")).http


def mistake(section: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(section)
    return str(caught.value)


def test_by_default_nothing_is_listened_on_and_then_only_for_this_machine() -> None:
    assert parse("") == HttpSettings(port=0, address="127.0.0.1", token_file=None)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "'::1'"])
def test_this_machine_alone_needs_no_token(address: str) -> None:
    assert parse(f"port: 9590, address: {address}").token_file is None


@pytest.mark.parametrize("address", ["0.0.0.0", "'::'", "192.168.1.7", "'fe80::1'"])
def test_what_others_reach_needs_one(address: str) -> None:
    shown = address.strip("'")
    assert mistake(f"port: 9590, address: {address}") == (
        f"/etc/sightd/sightd.yaml:2: http.token_file: is needed, for other machines can reach {shown}: name a file "
        "with a token (openssl rand -hex 32), or listen on 127.0.0.1 only"
    )
    assert parse(f"address: {address}, token_file: t").token_file == Path("/etc/sightd/t")
    assert "is needed" in mistake(f"address: {address}, token_file: null")


def test_an_ipv4_address_that_is_written_as_one_of_ipv6_is_that_of_ipv4() -> None:
    assert parse("port: 9590, address: '::ffff:127.0.0.1'").address == "127.0.0.1"
    assert "machines can reach 0.0.0.0:" in mistake("port: 9590, address: '::FFFF:0.0.0.0'")


@pytest.mark.parametrize("address", ["localhost", "box.lan", "''", "127.0.0.1:9590", "'[::1]'", "256.0.0.1", "'*'"])
def test_what_is_no_address_is_a_mistake_at_its_place(address: str) -> None:
    assert mistake(f"address: {address}").startswith(
        "/etc/sightd/sightd.yaml:2: http.address: must be an address of this machine, not a name: 127.0.0.1"
    )


@pytest.mark.parametrize("port", ["-1", "65536", "'9590'", "true"])
def test_what_is_no_port_is_a_mistake(port: str) -> None:
    assert mistake(f"port: {port}").startswith("/etc/sightd/sightd.yaml:2: http.port: must be ")


def written(folder: Path, content: bytes, mode: int = 0o600) -> HttpSettings:
    token = folder / "token"
    token.write_bytes(content)
    token.chmod(mode)
    return parse(f"port: 9590, token_file: {token}")


def test_the_token_is_read_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(tmp_path, f"{CANARY}-._~+/==\n".encode()).read_token() == f"{CANARY}-._~+/=="
    assert parse("port: 9590").read_token() is None
    assert parse("token_file: /no/such/file").read_token() is None, "nothing is listened on"
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("systemds")
    (tmp_path / "credentials" / "token").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert parse("port: 9590, token_file: /only/root/sees/token").read_token() == "systemds"


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (CANARY.encode(), 0o644, "everybody on this machine may read"),
        (b"", 0o600, "is empty; write the secret into it"),
        (f"{CANARY} {CANARY}".encode(), 0o600, "letters, digits and -._~+/= only; make one with: openssl rand -hex 32"),
        (f"{CANARY}\u00e9".encode(), 0o600, "letters, digits and -._~+/= only"),
        (f"{CANARY}\r\nX: y".encode(), 0o600, "more than one line"),
        (f" {CANARY}".encode(), 0o600, "letters, digits and"),
    ],
)
def test_what_could_not_be_sent_or_everybody_knows_is_refused(
    tmp_path: Path, content: bytes, mode: int, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=r"^http\.token_file: ") as caught:
        written(tmp_path, content, mode).read_token()
    assert complaint in str(caught.value)
    assert CANARY not in str(caught.value)
