"""A connection whose other side is gone without a word is left in time, wherever it was when that happened."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest

from daemon.broker.tls import TlsOptions
from daemon.topics import Topics
from tests.parts.broker import Broker, collect, running_broker
from tests.parts.proxy import Proxy
from tests.parts.publishing import publishing, warnings_of

TOPICS = Topics("sightd/porch")
KEEPALIVE_S = 1
#: Twice the keep-alive, as promised, and what a machine that is busy with other things may add.
NOTICED_S = 2 * KEEPALIVE_S + 3


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


@pytest.mark.parametrize("chatty", [False, True], ids=["idle", "sending"])
def test_a_pulled_cable_is_noticed_after_twice_the_keep_alive_and_survived(chatty: bool, broker: Broker) -> None:
    with collect(broker) as seen, Proxy(broker.port) as proxy, publishing(
        proxy.port, keepalive_s=KEEPALIVE_S
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)
        proxy.swallow()
        started = time.monotonic()
        while running.publisher.connected:
            assert time.monotonic() < started + NOTICED_S
            if chatty:  # TCP takes it, for the proxy does: only an answer proves that somebody is there
                running.put(TOPICS.detections("gate"), b"{}")
            time.sleep(0.02)
        assert time.monotonic() - started > KEEPALIVE_S / 2, "it was lost for another reason"
        proxy.heal()
        running.wait_until(lambda publisher: publisher.connected)
        running.put(TOPICS.detections("gate"), b"fresh")
        seen.wait_for(TOPICS.detections("gate"), b"fresh")


def test_a_stopped_broker_is_noticed_after_twice_the_keep_alive(broker: Broker) -> None:
    with publishing(broker.port, keepalive_s=KEEPALIVE_S) as running:
        running.wait_until(lambda publisher: publisher.connected)
        broker.freeze()
        running.wait_until(lambda publisher: not publisher.connected, NOTICED_S)
        broker.thaw()
        running.wait_until(lambda publisher: publisher.connected)


def test_a_broker_that_vanishes_between_connect_and_its_answer_is_left_and_tried_again(broker: Broker) -> None:
    with Proxy(broker.port) as proxy:
        proxy.swallow()
        with publishing(proxy.port, keepalive_s=KEEPALIVE_S) as running:
            running.wait_until(lambda _: proxy.received > 0)
            proxy.heal()  # what was swallowed stays swallowed
            running.wait_until(lambda publisher: publisher.connected, deadline_s=15)


def test_a_broker_that_vanishes_while_hands_are_shaken_is_left_in_time(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        started = time.monotonic()
        with publishing(silent.getsockname()[1], tls=TlsOptions()) as running:
            running.wait_until(lambda _: len(warnings_of(caplog)) > 0)
            assert 2 < time.monotonic() - started < 10
            assert running.publisher.state == "connecting"
    assert "handshake operation timed out" in warnings_of(caplog)[0]


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("nft") and shutil.which("unshare") and shutil.which("ip")),
    reason="needs root, nft, ip and unshare, for a network namespace",
)
def test_a_packet_filter_that_drops_everything_is_noticed_in_time_with_the_usual_keep_alive() -> None:
    """No packet, and no RST, comes through."""
    child = Path(__file__).parents[1] / "parts/dropped_packets.py"
    ran = subprocess.run(
        ["unshare", "--net", sys.executable, str(child)], capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr
    noticed_s, back_s = map(float, ran.stdout.split()[-2:])
    assert 9 <= noticed_s <= 2 * 10
    assert back_s <= 2.5 + 3 + 4.5, "the longest pause, an attempt that was under way, and what a busy machine adds"
