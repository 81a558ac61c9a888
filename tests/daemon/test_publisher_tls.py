from __future__ import annotations

import logging
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest

from daemon.broker.tls import TlsOptions, tls_context
from daemon.topics import Topics
from sightd.errors import ConfigError
from sightd.settings import json_schema
from tests.parts.broker import Broker, TlsListener, collect, running_broker
from tests.parts.certificates import Authority, Pair
from tests.parts.publishing import Running, publishing, warnings_of

TOPICS = Topics("sightd/porch")
PASSWORD = "correct horse@battery/canary"


@dataclass(frozen=True)
class Certificates:
    ours: Authority
    server: Pair
    client: Pair
    #: Of an authority that nobody trusts.
    strange: Authority
    strange_client: Pair


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ours, strange = Authority(folder / "ours"), Authority(folder / "strange")
    server, client = ours.issue("server"), ours.issue("client", "client")
    return Certificates(ours, server, client, strange, strange.issue("client", "client"))


@pytest.fixture
def broker(tmp_path: Path, certificates: Certificates) -> Iterator[Broker]:
    listener = TlsListener(certificates.server, certificates.ours.ca_file)
    with running_broker(tmp_path, users={"sightd": PASSWORD, "viewer": "v"}, tls=listener) as running:
        yield running


def trusting(authority: Authority, pair: Optional[Pair] = None) -> TlsOptions:
    return TlsOptions(authority.ca_file, pair and pair.cert_file, pair and pair.key_file)


def complaint(caplog: pytest.LogCaptureFixture, port: int, **options: Any) -> str:
    """The first warning of a publisher that does not get through."""
    with publishing(port, **options) as running:
        running.wait_until(lambda _: len(warnings_of(caplog)) > 0)
        assert not running.publisher.connected
    return warnings_of(caplog)[0]


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that refuses each client while hands are shaken, and lets it read why."""

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except socket.timeout:
                continue
            with context.wrap_socket(connection, True, do_handshake_on_connect=False) as wrapped:
                wrapped.settimeout(5)
                with pytest.raises(ssl.SSLError):
                    wrapped.do_handshake()
                over.wait(0.2)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join(10)


def test_over_tls_everything_is_as_without(
    broker: Broker, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with collect(broker, user=("viewer", "v")) as seen, publishing(
        broker.tls_port, username="sightd", password=PASSWORD, tls=trusting(certificates.ours)
    ) as running:
        seen.wait_for("sightd/porch/available", b"online")
        for number in range(300):
            running.put(f"sightd/porch/camera{number}/status", b"online", retain=True)
            running.put("sightd/porch/gate/detections", b"%d" % number)
        seen.wait_until(lambda collector: len(collector.newest) == 302)
        assert option(running, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        running.wait_until(lambda publisher: publisher._connection.unacknowledged == 0)
        running.stop()
        running.publisher.close()
        seen.wait_for("sightd/porch/available", b"stopped")
    assert "canary" not in caplog.text
    assert warnings_of(caplog) == []


def option(running: Running, level: int, name: int) -> int:
    connection = running.publisher._connection
    assert connection is not None
    return int(connection._client.socket().getsockopt(level, name))


def test_a_large_message_over_tls_arrives_whole(broker: Broker, certificates: Certificates) -> None:
    picture = bytes(range(256)) * 20_000
    with collect(broker, "+/+/x", user=("viewer", "v")) as seen, publishing(
        broker.tls_port, username="sightd", password=PASSWORD, tls=trusting(certificates.ours)
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)
        running.put("sightd/porch/x", picture)
        seen.wait_for("sightd/porch/x", picture)


def test_a_lost_tls_broker_is_found_again(broker: Broker, certificates: Certificates) -> None:
    with publishing(broker.tls_port, username="sightd", password=PASSWORD, tls=trusting(certificates.ours)) as running:
        running.wait_until(lambda publisher: publisher.connected)
        broker.kill()
        running.wait_until(lambda publisher: not publisher.connected)
        broker.start()
        running.wait_until(lambda publisher: publisher.connections == 2)


def test_a_client_certificate_is_shown_where_one_is_wanted(tmp_path: Path, certificates: Certificates) -> None:
    listener = TlsListener(certificates.server, certificates.ours.ca_file, wants_certificate=True)
    with running_broker(tmp_path, tls=listener) as broker, publishing(
        broker.tls_port, tls=trusting(certificates.ours, certificates.client)
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("strange", [False, True])
def test_a_broker_that_wants_another_client_certificate_says_so_in_the_log(
    strange: bool, version: ssl.TLSVersion, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.cert_file, certificates.server.key_file)
    context.load_verify_locations(certificates.ours.ca_file)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    with tls_server(context) as port:
        pair = certificates.strange_client if strange else None
        warning = complaint(caplog, port, tls=trusting(certificates.ours, pair))
    assert ("does not accept our client certificate" if strange else "wants a client certificate") in warning


def test_a_mosquitto_that_hangs_up_for_want_of_a_certificate_is_understood(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    listener = TlsListener(certificates.server, certificates.ours.ca_file, wants_certificate=True)
    with running_broker(tmp_path, tls=listener) as broker:
        warning = complaint(caplog, broker.tls_port, tls=trusting(certificates.ours))
    assert "want a client certificate" in warning or "wants a client certificate" in warning


def test_a_broker_of_a_strange_authority_is_not_talked_to(
    broker: Broker, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    warning = complaint(caplog, broker.tls_port, tls=trusting(certificates.strange))
    assert "mqtt.tls.ca_file must name the certificate of the authority" in warning


def test_without_a_ca_file_the_systems_authorities_count(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    assert "mqtt.tls.ca_file must name" in complaint(caplog, broker.tls_port, tls=TlsOptions())


def test_a_certificate_for_another_host_is_not_enough(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = certificates.ours.issue("elsewhere", names="DNS:broker.example")
    with running_broker(tmp_path, tls=TlsListener(elsewhere, certificates.ours.ca_file)) as broker:
        for host in ("127.0.0.1", "localhost"):
            caplog.clear()
            warning = complaint(caplog, broker.tls_port, host=host, tls=trusting(certificates.ours))
            assert f"its certificate is not for '{host}'" in warning


@pytest.mark.parametrize(("valid_from_days", "words"), [(-4, "has expired"), (2, "this machine's clock is wrong")])
def test_a_certificate_of_another_time_is_told(
    valid_from_days: int, words: str, tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    pair = certificates.ours.issue(f"from{valid_from_days}", valid_from_days=valid_from_days)
    with running_broker(tmp_path, tls=TlsListener(pair, certificates.ours.ca_file)) as broker:
        assert words in complaint(caplog, broker.tls_port, tls=trusting(certificates.ours))


def test_tls_to_the_plain_port_is_told(
    broker: Broker, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    warning = complaint(caplog, broker.port, tls=trusting(certificates.ours))
    assert "does not speak TLS at this port" in warning


def test_plain_to_the_tls_port_is_told(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    assert "mqtt.tls.enabled" in complaint(caplog, broker.tls_port)


def test_a_server_that_never_shakes_hands_is_given_up(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        warning = complaint(caplog, port, tls=trusting(certificates.ours), keepalive_s=1000)
    assert "does not speak TLS at this port" in warning


def test_renewed_files_are_read_at_the_next_connection(
    broker: Broker, tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    ca_file = tmp_path / "renewed.pem"
    with publishing(broker.tls_port, username="sightd", password=PASSWORD, tls=TlsOptions(ca_file)) as running:
        running.wait_until(lambda _: len(warnings_of(caplog)) > 0)
        assert "mqtt.tls.ca_file" in warnings_of(caplog)[0]
        shutil.copy(certificates.ours.ca_file, ca_file)
        running.wait_until(lambda publisher: publisher.connected)


# Files


def refusal(ca_file: Optional[Path] = None, cert_file: Optional[Path] = None, key_file: Optional[Path] = None) -> str:
    with pytest.raises(ConfigError) as caught:
        tls_context(TlsOptions(ca_file, cert_file, key_file))
    return str(caught.value)


def test_files_that_can_not_be_used_are_told_with_their_key(tmp_path: Path, certificates: Certificates) -> None:
    cert, key = certificates.client.cert_file, certificates.client.key_file
    damaged, text = tmp_path / "damaged.pem", tmp_path / "text"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    text.write_text("canary")
    assert refusal(tmp_path / "gone").startswith("mqtt.tls.ca_file: ")
    assert "No such file" in refusal(tmp_path / "gone")
    assert "Is a directory" in refusal(tmp_path)
    assert "holds no certificate in PEM format" in refusal(text)
    assert "canary" not in refusal(text)
    assert "damaged" in refusal(damaged)
    assert refusal(None, text, key).startswith("mqtt.tls.cert_file: ")
    assert "holds no private key" in refusal(None, cert, text)
    assert refusal(None, cert, cert).startswith("mqtt.tls.key_file: ")
    assert "is not the key of" in refusal(None, cert, certificates.server.key_file)
    assert "OpenSSL can't use" in refusal(None, damaged, key)


def test_an_encrypted_key_is_refused_instead_of_asking_at_the_terminal(
    tmp_path: Path, certificates: Certificates
) -> None:
    pair, encrypted = certificates.client, tmp_path / "encrypted.key"
    subprocess.run(
        ["openssl", "pkey", "-in", pair.key_file, "-aes256", "-passout", "pass:canary", "-out", encrypted], check=True
    )
    assert "is encrypted" in refusal(None, pair.cert_file, encrypted)


def test_one_file_may_hold_certificate_and_key(tmp_path: Path, certificates: Certificates) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.client.cert_file.read_bytes() + certificates.client.key_file.read_bytes())
    tls_context(TlsOptions(None, both, both))


def test_only_tls_1_2_and_newer_and_only_verified() -> None:
    context = tls_context(TlsOptions())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_no_setting_turns_the_verification_off() -> None:
    settings = json_schema()["$defs"]["TlsSettings"]["properties"]
    assert set(settings) == {"enabled", "ca_file", "cert_file", "key_file"}, "a new one? it must not weaken the check"
