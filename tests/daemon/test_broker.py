from __future__ import annotations

from pathlib import Path

import pytest

from daemon.broker import BrokerOptions, broker_options
from daemon.broker.tls import TlsOptions
from sightd.errors import ConfigError
from sightd.settings import Settings, parse_settings
from tests.parts.certificates import Authority, Pair

CANARY = "hunter2canary"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("client", "client")


def settings(mqtt: str) -> Settings:
    return parse_settings(f"node: box\nmqtt: {{{mqtt}}}\ncameras: {{a: {{url: x.mp4}}}}".encode(), Path("/c.yaml"))


def test_the_defaults_are_an_open_broker_on_this_machine() -> None:
    assert broker_options(settings("")) == BrokerOptions("127.0.0.1", 1883, client_id="sightd-box")


def test_fallbacks_have_the_same_user_and_encryption_and_ipv6_its_brackets() -> None:
    options = broker_options(settings("host: a, username: me, fallbacks: ['b:1884', '[::1]:1885']"))
    assert not options.redirected_anywhere
    there = options.at(options.fallbacks[1])
    assert str(there) == "MQTT broker [::1]:1885 as 'me'"
    assert (there.host, there.port, there.username) == ("::1", 1885, "me")
    assert broker_options(settings("redirects: any, tls: {enabled: true}")).redirected_anywhere


def test_the_password_is_read_and_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(CANARY)
    (tmp_path / "secret").chmod(0o600)
    options = broker_options(settings(f"host: b, username: me, password_file: {tmp_path}/secret"))
    assert options.read_password() == CANARY
    assert CANARY not in repr(options)
    assert str(options) == "MQTT broker b:1883 as 'me'"


def test_tls_has_its_files_and_its_port(authority: Authority, pair: Pair) -> None:
    files = f"ca_file: {authority.ca_file}, cert_file: {pair.cert_file}, key_file: {pair.key_file}"
    options = broker_options(settings(f"tls: {{enabled: true, {files}}}"))
    assert options.port == 8883
    assert options.tls == TlsOptions(authority.ca_file, pair.cert_file, pair.key_file)


def test_the_key_may_be_a_credential_of_systemd(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mqtt.key").write_bytes(pair.key_file.read_bytes())
    (tmp_path / "mqtt.key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    options = broker_options(
        settings(f"tls: {{enabled: true, cert_file: {pair.cert_file}, key_file: /only/root/sees/mqtt.key}}")
    )
    assert options.tls == TlsOptions(None, pair.cert_file, tmp_path / "mqtt.key")


def test_a_file_for_tls_that_can_not_be_used_is_told_at_once(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.ca_file: .*No such file"):
        broker_options(settings(f"tls: {{enabled: true, ca_file: {tmp_path}/gone}}"))
    open_key = tmp_path / "open.key"
    open_key.write_bytes(pair.key_file.read_bytes())
    open_key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.key_file: everybody on this machine may read"):
        broker_options(settings(f"tls: {{enabled: true, cert_file: {pair.cert_file}, key_file: {open_key}}}"))
