from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from daemon.publisher import BrokerOptions
from daemon.topics import Topics
from tests.parts.broker import Broker, collect, free_port, running_broker
from tests.parts.publishing import publishing, warnings_of

TOPICS = Topics("sightd/porch")
PASSWORD = "correct horse@battery/canary"
ROOT = Path(__file__).parents[2]
CHILD = """
import sys, threading
from daemon.outbox import Message, Outbox
from daemon.publisher import BrokerOptions, Publisher
from daemon.topics import Topics
publisher = Publisher(BrokerOptions("127.0.0.1", int(sys.argv[1]), client_id="child"), Topics("sightd/porch"), Outbox())
publisher.run(threading.Event())
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


def is_retained(broker: Broker, topic: str, payload: bytes, *, user: Tuple[str, str] = ("", "")) -> None:
    with collect(broker, topic, user=user) as late:
        late.wait_for(topic, payload)
        assert late.messages[0].retained


def test_it_says_online_and_publishes_with_the_right_qos(broker: Broker) -> None:
    with collect(broker) as seen, publishing(broker.port) as running:
        seen.wait_for("sightd/porch/available", b"online")
        running.put("sightd/porch/gate/detections", b"{}")
        running.put("sightd/porch/gate/status", b"online", retain=True)
        seen.wait_for("sightd/porch/gate/detections", b"{}")
        seen.wait_for("sightd/porch/gate/status", b"online")
        assert {message.topic: message.qos for message in seen.messages} == {
            "sightd/porch/available": 1,
            "sightd/porch/gate/detections": 0,
            "sightd/porch/gate/status": 1,
        }
        is_retained(broker, "sightd/porch/available", b"online")
        is_retained(broker, "sightd/porch/gate/status", b"online")


def test_messages_of_a_topic_arrive_in_order_and_are_all_counted(broker: Broker) -> None:
    with collect(broker, "+/+/gate/#") as seen, publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        wanted = [b"%d" % number for number in range(1000)]
        for payload in wanted:
            running.put("sightd/porch/gate/detections", payload)
        seen.wait_until(lambda collector: len(collector.messages) == len(wanted))
        assert [message.payload for message in seen.messages] == wanted
        assert running.publisher.published == len(wanted) + 1  # and "online"
        assert running.publisher.dropped == running.outbox.dropped == 0


def test_more_states_than_paho_keeps_in_flight_all_arrive(broker: Broker) -> None:
    with collect(broker, "+/+/+/status") as seen, publishing(broker.port) as running:
        for number in range(300):
            running.put(TOPICS.status(f"camera{number}"), b"online", retain=True)
        seen.wait_until(lambda collector: len(collector.newest) == 300)


def test_small_messages_are_not_held_back_to_be_sent_together(broker: Broker) -> None:
    with publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        connection = running.publisher._connection
        assert connection is not None
        assert connection._client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_killed_daemon_is_offline(broker: Broker) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port)], cwd=ROOT)
    try:
        with collect(broker) as seen:
            seen.wait_for("sightd/porch/available", b"online")
            child.send_signal(signal.SIGKILL)
            seen.wait_for("sightd/porch/available", b"offline")
        is_retained(broker, "sightd/porch/available", b"offline")
    finally:
        child.kill()
        child.wait(10)


def test_a_stopped_daemon_sends_what_waits_and_is_stopped(broker: Broker) -> None:
    with collect(broker) as seen:
        with publishing(broker.port) as running:
            running.wait_until(lambda publisher: publisher.connected)
            running.stop()
            for number in range(500):
                running.put("sightd/porch/gate/detections", b"%d" % number)
            running.put("sightd/porch/gate/status", b"offline", retain=True)
            running.publisher.close()
            assert running.publisher.state == "closed"
            assert not running.publisher.connected
        seen.wait_for("sightd/porch/available", b"stopped")
        detections = [message.payload for message in seen.messages if message.topic.endswith("detections")]
        assert detections == [b"%d" % number for number in range(500)]
        assert seen.newest["sightd/porch/gate/status"] == b"offline"
        assert seen.messages[-1].payload == b"stopped"
    is_retained(broker, "sightd/porch/available", b"stopped")


def test_closing_without_a_broker_is_quick_and_twice_is_fine() -> None:
    with publishing(free_port()) as running:
        running.wait_until(lambda publisher: publisher.state == "connecting")
        running.stop()
        started = time.monotonic()
        running.publisher.close(deadline_s=60)
        running.publisher.close(deadline_s=60)
        assert time.monotonic() - started < 20, "there was nothing to wait for"


def test_closing_at_a_frozen_broker_keeps_its_deadline_and_leaves_the_will(broker: Broker) -> None:
    with publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        running.stop()
        broker.freeze()
        started = time.monotonic()
        running.publisher.close(deadline_s=0.5)
        assert 0.4 < time.monotonic() - started < 5
        assert running.publisher.state == "closed"
    broker.thaw()
    # it finds our last words, but no DISCONNECT after them
    with collect(broker, "sightd/porch/available") as seen:
        seen.wait_for("sightd/porch/available", b"offline")


def test_a_broker_that_comes_later_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with publishing(port) as running:
        running.put(TOPICS.status("gate"), b"online", retain=True)
        running.put(TOPICS.detections("gate"), b"old")
        running.wait_until(lambda _: len(warnings_of(caplog)) > 0)
        assert running.publisher.state == "connecting"
        with running_broker(tmp_path, port=port) as broker:
            running.wait_until(lambda publisher: publisher.connected)
            is_retained(broker, TOPICS.available, b"online")
            is_retained(broker, TOPICS.status("gate"), b"online")
            assert running.publisher.dropped == 1, "the detections from before are stale"
    assert f"127.0.0.1:{port} can't be reached" in warnings_of(caplog)[0]


def test_detections_put_while_the_broker_makes_up_its_mind_are_stale_but_states_are_not(broker: Broker) -> None:
    broker.freeze()
    with publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher._connection is not None)
        running.put(TOPICS.detections("gate"), b"stale")
        running.put(TOPICS.status("gate"), b"online", retain=True)
        broker.thaw()
        running.wait_until(lambda publisher: publisher.connected)
        is_retained(broker, TOPICS.status("gate"), b"online")
        running.wait_until(lambda publisher: publisher.published == 2)  # the state and "online"
        assert running.publisher.dropped == 1


def test_after_kill_9_of_the_broker_everything_retained_is_back(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    with publishing(broker.port) as running:
        running.put(TOPICS.info, b"{}", retain=True)
        running.put(TOPICS.status("gate"), b"online", retain=True)
        running.put(TOPICS.status("yard"), b"online", retain=True)
        with collect(broker) as seen:
            seen.wait_until(lambda collector: len(collector.newest) == 4)
        broker.kill()
        running.wait_until(lambda publisher: not publisher.connected)
        running.put(TOPICS.status("gate"), b"offline", retain=True)
        for _ in range(10):
            running.put(TOPICS.detections("gate"), b"stale")
        broker.start()
        running.wait_until(lambda publisher: publisher.connected, deadline_s=6)
        with collect(broker) as seen:
            seen.wait_until(lambda collector: len(collector.newest) == 4)
            assert seen.newest == {
                TOPICS.available: b"online",
                TOPICS.info: b"{}",
                TOPICS.status("gate"): b"offline",
                TOPICS.status("yard"): b"online",
            }
            running.put(TOPICS.detections("gate"), b"fresh")
            seen.wait_for(TOPICS.detections("gate"), b"fresh")
            assert b"stale" not in [message.payload for message in seen.messages]
        assert running.publisher.connections == 2
        assert running.publisher.dropped == 10
    assert any("connection lost" in warning for warning in warnings_of(caplog))


def test_a_frozen_broker_is_noticed_and_costs_bounded_memory_and_no_new_frames(broker: Broker) -> None:
    flood = b"x" * 100_000
    with publishing(broker.port, capacity=20, keepalive_s=1) as running:
        running.wait_until(lambda publisher: publisher.connected)
        broker.freeze()
        deadline = time.monotonic() + 15
        put = 0
        while running.publisher.connected:
            running.put(TOPICS.detections("gate"), flood)
            put += 1
            assert time.monotonic() < deadline
            time.sleep(0.002)
        assert running.outbox.dropped > 0, "what the network does not take stays in the outbox, which is bounded"
        broker.thaw()
        running.wait_until(lambda publisher: publisher.connected)
        with collect(broker, TOPICS.detections("gate")) as seen:
            running.put(TOPICS.detections("gate"), b"fresh")
            seen.wait_for(TOPICS.detections("gate"), b"fresh")
        # Once "fresh", "online" each time; the subscriber may be ahead of the counter.
        running.wait_until(
            lambda publisher: (
                publisher.published + publisher.dropped + running.outbox.dropped == put + 1 + publisher.connections
            )
        )


def test_the_old_connections_will_does_not_stay_after_the_new_one_came(broker: Broker) -> None:
    with publishing(broker.port, client_id="same") as first:
        first.wait_until(lambda publisher: publisher.connected)
        first.stop()  # its connection stays open, as when a cable was pulled
        with collect(broker) as seen, publishing(broker.port, client_id="same") as second:
            second.wait_until(lambda publisher: publisher.connected)
            seen.wait_until(lambda collector: [m.payload for m in collector.messages][-2:] == [b"offline", b"online"])
        first.publisher.close()


def test_a_connection_that_comes_and_goes_does_not_fill_the_log(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """As of two clients with one id, where the broker gives no reason (mosquitto 2.0.11 does not)."""
    with caplog.at_level(logging.INFO, "daemon.publisher"), publishing(broker.port) as running:
        for times in range(1, 7):
            running.wait_until(lambda publisher, times=times: publisher.connections == times)
            broker.kill()
            broker.start()
        running.wait_until(lambda publisher: publisher.connections == 7)
        for said in ("connected, MQTT 5", "connection lost"):
            assert sum(said in record.message for record in caplog.records) == 3


def test_a_wrong_password_is_told_once_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running_broker(tmp_path, users={"sightd": "another"}) as broker, publishing(
        broker.port, username="sightd", password=PASSWORD
    ) as running:
        running.wait_until(lambda publisher: publisher.state.startswith("refused"))
        # long enough for at least one more attempt
        settled = time.monotonic() + 1.5
        while time.monotonic() < settled:
            assert running.publisher.state == "refused: Not authorized"
            assert not running.publisher.connected
            time.sleep(0.01)
        assert running.publisher.connections == running.publisher.published == 0
        everything = caplog.text + repr(vars(running.publisher)) + repr(running.publisher)
        (warning,) = warnings_of(caplog)
    assert warning.startswith(f"MQTT broker 127.0.0.1:{broker.port} as 'sightd' refuses us (Not authorized): check the")
    assert "write to sightd/porch/#" in warning
    assert "canary" not in everything


def test_a_password_that_becomes_right_connects(tmp_path: Path) -> None:
    port = free_port()
    for folder in ("wrong", "right"):
        (tmp_path / folder).mkdir()
    with running_broker(tmp_path / "wrong", users={"sightd": "another"}, port=port) as broker, publishing(
        port, username="sightd", password=PASSWORD
    ) as running:
        running.wait_until(lambda publisher: publisher.state.startswith("refused"))
        broker.kill()
        with running_broker(tmp_path / "right", users={"sightd": PASSWORD}, port=port):
            running.wait_until(lambda publisher: publisher.connected)


def test_a_new_password_in_its_file_is_used_from_the_next_connection_on(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("old")
    with running_broker(tmp_path, users={"sightd": PASSWORD}) as broker, publishing(
        broker.port, username="sightd", password_file=secret
    ) as running:
        running.wait_until(lambda publisher: publisher.state.startswith("refused"))
        secret.write_text("")  # as it is just being replaced
        running.wait_until(lambda publisher: publisher.state == "connecting")
        secret.write_text(f"{PASSWORD}\n")
        running.wait_until(lambda publisher: publisher.connected)


def test_an_anonymous_client_is_refused_where_a_user_is_wanted(tmp_path: Path) -> None:
    with running_broker(tmp_path, users={"sightd": PASSWORD}) as broker, publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.state.startswith("refused"))


def test_writing_below_the_prefix_is_all_that_an_acl_has_to_allow(tmp_path: Path) -> None:
    users = {"sightd": PASSWORD, "viewer": "v"}
    acl = "user sightd\ntopic write sightd/porch/#\n\nuser viewer\ntopic read #\n"
    with running_broker(tmp_path, users=users, acl=acl) as broker, collect(
        broker, user=("viewer", "v")
    ) as seen, publishing(broker.port, username="sightd", password=PASSWORD) as running:
        seen.wait_for(TOPICS.available, b"online")
        running.put("sightd/elsewhere", b"not ours")
        running.put(TOPICS.detections("gate"), b"{}")
        seen.wait_for(TOPICS.detections("gate"), b"{}")
        assert "sightd/elsewhere" not in seen.newest
        assert running.publisher.connected


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x02\x00\x01",  # "unacceptable protocol version"
        b"\x20\x02\x00\x63",  # a refusal that does not exist
        b"\x20\x02\x00\x00\x32\x02\xff\xff",  # accepts us, then a broken PUBLISH
        b"\x40\x00\x20\x02",  # a PUBACK without an id
        b"\x00" * 100,
    ],
)
def test_something_else_on_the_brokers_port_is_survived(noise: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with publishing(server.getsockname()[1]) as running:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(noise)
            assert running.errors == []
            running.wait_until(lambda publisher: not publisher.connected)


def test_a_host_that_is_no_host_name_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with publishing(1883, host="a..b") as running:
        running.wait_until(lambda _: len(warnings_of(caplog)) > 0)
        assert running.errors == []
    assert "a..b:1883 can't be reached" in warnings_of(caplog)[0]


def test_a_message_that_mqtt_can_not_carry_ends_run_instead_of_silence(broker: Broker) -> None:
    with publishing(broker.port) as running:
        running.wait_until(lambda publisher: publisher.connected)
        running.put("sightd/+", b"")
        running.wait_until(lambda _: len(running.errors) > 0)
        assert isinstance(running.errors.pop(), ValueError)


def test_the_password_is_in_no_repr() -> None:
    assert "canary" not in repr(BrokerOptions(password=PASSWORD))
