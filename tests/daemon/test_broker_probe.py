from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from daemon.broker import BrokerOptions
from daemon.broker.probe import BrokerFinding, probe_broker
from daemon.broker.tls import TlsOptions
from tests.parts.broker import Broker, collect, free_port, running_broker
from tests.parts.old_broker import old_broker
from tests.parts.publishing import publishing

PASSWORD = "correct horse@battery/canary"


def probe(port: int, deadline_s: float = 5.0, **options: object) -> BrokerFinding:
    return probe_broker(BrokerOptions("127.0.0.1", port, **options), "sightd/porch", deadline_s)  # type: ignore[arg-type]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def test_a_broker_that_takes_everything_is_ok(broker: Broker) -> None:
    with collect(broker) as seen:
        finding = probe(broker.port)
        seen.wait_for("sightd/porch/doctor", b"checked")
        assert not seen.messages[0].retained
    assert (finding.ok, finding.protocol) == (True, "5")
    assert "takes what we publish, with MQTT 5" in finding.sentence
    with collect(broker) as late, publishing(broker.port):
        late.wait_for("sightd/porch/available", b"online")
        assert "sightd/porch/doctor" not in late.newest, "it is retained"


def test_the_running_daemon_keeps_its_connection(broker: Broker) -> None:
    with publishing(broker.port, client_id="sightd") as running:
        running.wait_until(lambda publisher: publisher.connected)
        with collect(broker, "sightd/porch/available") as seen:
            assert probe(broker.port, client_id="sightd").ok
            seen.wait_for("sightd/porch/available", b"online")
            time.sleep(0.2)  # what else there is would have come
            assert [message.payload for message in seen.messages] == [b"online"]
        assert running.publisher.connections == 1


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b""])
def test_an_old_broker_is_ok_too(answer: bytes, broker: Broker) -> None:
    with old_broker(broker, answer) as old:
        finding = probe(old.port)
    assert (finding.ok, finding.protocol) == (True, "3.1.1")


def test_an_acl_that_forbids_the_prefix_is_found(tmp_path: Path) -> None:
    with running_broker(tmp_path, users={"sightd": PASSWORD}, acl="user sightd\ntopic read #\n") as broker:
        finding = probe(broker.port, username="sightd", password=PASSWORD)
    assert (finding.ok, finding.protocol) == (False, "5")
    assert "let this user write to sightd/porch/# in the broker's ACL" in finding.sentence


def test_a_wrong_password_is_found_and_not_shown(tmp_path: Path) -> None:
    with running_broker(tmp_path, users={"sightd": "another"}) as broker:
        finding = probe(broker.port, username="sightd", password=PASSWORD)
    assert (finding.ok, finding.protocol) == (False, "")
    assert "refuses us (Not authorized): check the user name, the password" in finding.sentence
    assert "canary" not in repr(finding)


def test_no_broker_is_a_finding() -> None:
    finding = probe(free_port())
    assert not finding.ok
    assert "can't be reached" in finding.sentence


def test_files_for_tls_that_are_not_there_are_a_finding(tmp_path: Path, broker: Broker) -> None:
    finding = probe(broker.port, tls=TlsOptions(tmp_path / "gone"))
    assert not finding.ok
    assert "mqtt.tls.ca_file" in finding.sentence


def test_a_frozen_broker_costs_no_more_than_the_deadline(broker: Broker) -> None:
    broker.freeze()
    started = time.monotonic()
    finding = probe(broker.port, deadline_s=0.5)
    assert 0.4 < time.monotonic() - started < 5
    assert not finding.ok
    assert "does not answer in time" in finding.sentence


@pytest.mark.parametrize("noise", [b"", b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\x00" * 100])
def test_something_else_on_the_port_is_a_finding(noise: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(noise)

        thread = threading.Thread(target=answer)
        thread.start()
        finding = probe(server.getsockname()[1])
        thread.join(10)
    assert not finding.ok
    assert "hung up or gave no answer" in finding.sentence
