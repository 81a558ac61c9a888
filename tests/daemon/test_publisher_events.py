"""Events through a real broker that is killed, forgets, refuses and freezes, and from a daemon that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from daemon.outbox.disk import DiskOptions
from daemon.outbox.spool import EventSpool
from daemon.topics import Topics
from tests.parts.broker import Broker, Collector, collect, hang_up, running_broker
from tests.parts.events import event
from tests.parts.publishing import Running, publishing

ROOT = Path(__file__).parents[2]
TOPICS = Topics("sightd/porch")
#: mosquitto with the persistence that Debian's package sets up: saved every half hour and at an orderly end.
PERSISTENT = "persistence true\npersistence_location {folder}/\n"
#: A daemon that publishes events of two cameras without an end.
CHILD = """
import sys, threading, time
from pathlib import Path
from daemon.outbox.disk import DiskOptions
from daemon.outbox.spool import EventSpool
from daemon.outbox import Outbox
from daemon.publisher import BrokerOptions, Publisher
from daemon.topics import Topics
from tests.parts.events import event

spool = EventSpool(DiskOptions(Path(sys.argv[2])), settle_s=0.5)
outbox = Outbox(events=spool)
publisher = Publisher(BrokerOptions("127.0.0.1", int(sys.argv[1]), client_id="child"), Topics("sightd/porch"), outbox)
for work in (spool.run, lambda: publisher.run(threading.Event())):
    threading.Thread(target=work, daemon=True).start()
while True:
    seq = outbox.next_seq()
    outbox.put(event(seq, f"sightd/porch/cam{seq % 2}/events"))
    time.sleep(0.005)
"""


@contextmanager
def running_events(
    port: int, folder: Path, *, settle_s: float = 0.0, catch_up_rate: float = 2000.0, **options: Any
) -> Iterator[Running]:
    """A publisher whose events go by the disk."""
    spool = EventSpool(DiskOptions(folder), settle_s=settle_s, catch_up_rate=catch_up_rate)
    storing = threading.Thread(target=spool.run)
    storing.start()
    try:
        with publishing(port, events=spool, **options) as running:
            yield running
            running.stop()
            running.publisher.close()
            spool.finish()
            storing.join(10)
    finally:
        spool.finish()
        storing.join(10)


class Faithful(Collector):
    """A live subscriber with a persistent session, which comes back a second after it lost the broker."""

    def __init__(self, port: int, pause_s: float = 0.0) -> None:
        """*pause_s*: what it does with each message takes so long."""
        super().__init__()
        self._pause_s = pause_s
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "faithful", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = lambda _client, _userdata, message: self._work(message)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda *_: self._client.subscribe("sightd/porch/+/events", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(10)

    def close(self) -> None:
        hang_up(self._client)

    def _work(self, message: mqtt.MQTTMessage) -> None:
        time.sleep(self._pause_s)
        self._add(message)

    def numbers(self, topic: str = "") -> List[int]:
        """In the order of their first arrival."""
        own = [message for message in self.messages if topic in message.topic]
        return list(dict.fromkeys(msgspec.json.decode(message.payload)["seq"] for message in own))


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Broker]:
    """A broker with default persistence: what kill -9 leaves is what was last saved."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with running_broker(folder, lines=PERSISTENT.format(folder=folder)) as broker:
        yield broker


def save(broker: Broker) -> None:
    """Have the broker write its snapshot now, as it does every half hour."""
    assert broker._process is not None
    broker._process.send_signal(signal.SIGUSR1)
    snapshot = broker._folder / "mosquitto.db"
    deadline = time.monotonic() + 10
    while not snapshot.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def put(running: Running, count: int, topic: str = "sightd/porch/gate/events") -> List[int]:
    numbers = [running.outbox.next_seq() for _ in range(count)]
    for seq in numbers:
        running.outbox.put(event(seq, topic))
    return numbers


def test_events_arrive_in_order_with_qos_1_and_are_deleted(broker: Broker, tmp_path: Path) -> None:
    with collect(broker, "+/+/gate/#") as seen, running_events(broker.port, tmp_path / "outbox") as running:
        numbers = put(running, 500)
        seen.wait_until(lambda collector: len(collector.messages) == 500)
        assert [message.payload for message in seen.messages] == [event(seq).payload for seq in numbers]
        assert {message.qos for message in seen.messages} == {1}
        running.wait_until(lambda _: len(running.outbox) == 0)
        assert running.publisher.dropped == 0


def test_events_of_the_time_without_a_broker_arrive_later(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    with running_events(broker.port, tmp_path / "outbox") as running:
        put(running, 300)
        running.wait_until(lambda _: running.outbox.events.stats().stored == 300)
        broker.start()
        subscriber = Faithful(broker.port)
        subscriber.wait_until(lambda _: len(subscriber.numbers()) == 300)
        assert subscriber.numbers() == list(range(1, 301))
        subscriber.close()
        assert running.publisher.dropped == 0


def test_a_restarted_daemon_sends_what_the_last_one_could_not(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    with running_events(broker.port, tmp_path / "outbox") as running:
        put(running, 50)
    broker.start()
    subscriber = Faithful(broker.port)
    with running_events(broker.port, tmp_path / "outbox") as running:
        assert put(running, 1) == [51]
        subscriber.wait_until(lambda _: len(subscriber.numbers()) == 51)
    assert subscriber.numbers() == list(range(1, 52))
    subscriber.close()


def test_a_topic_that_the_acl_forbids_does_not_hold_up_the_others(tmp_path: Path) -> None:
    acl = "topic read #\ntopic write sightd/porch/gate/#\ntopic write sightd/porch/available\n"
    with running_broker(tmp_path, acl=acl) as broker, collect(broker) as seen, running_events(
        broker.port, tmp_path / "outbox"
    ) as running:
        put(running, 20, "sightd/porch/yard/events")
        allowed = put(running, 20)
        seen.wait_until(lambda collector: len([m for m in collector.messages if "/gate/" in m.topic]) == 20)
        assert running.publisher.last_denial == "Not authorized: sightd/porch/yard/events"
        assert running.publisher.denied <= 2, "one is tried, and now and then again"
        running.wait_until(lambda _: len(running.outbox.events) == 20)  # the refused ones
        assert [m.payload for m in seen.messages if "/gate/" in m.topic] == [event(seq).payload for seq in allowed]


def test_a_broker_that_restores_an_old_snapshot_says_that_nothing_is_lost(forgetful: Broker, tmp_path: Path) -> None:
    """Why the events of the last seconds are sent again in each connection, whatever the broker says of the session."""
    subscriber = mqtt.Client(CallbackAPIVersion.VERSION2, "away", clean_session=False)
    subscriber.connect("127.0.0.1", forgetful.port)
    subscriber.loop_start()
    subscribed = threading.Event()
    subscriber.on_subscribe = lambda *_: subscribed.set()
    subscriber.subscribe("sightd/porch/+/events", qos=1)
    assert subscribed.wait(10)
    hang_up(subscriber)
    with running_events(forgetful.port, tmp_path / "outbox") as running:
        put(running, 1)
        running.wait_until(lambda _: len(running.outbox.events) == 0)
        save(forgetful)
        put(running, 20)
        running.wait_until(lambda _: len(running.outbox.events) == 0)  # the broker has given its receipts
        forgetful.kill()
        running.wait_until(lambda publisher: not publisher.connected)
        forgetful.start()
        returned = Faithful(forgetful.port)  # another client; the one that is away has its session still
        back = Collector()
        present = threading.Event()

        def on_connect(_client: Any, _userdata: Any, flags: Any, *_: Any) -> None:
            if flags.session_present:
                present.set()

        subscriber = mqtt.Client(CallbackAPIVersion.VERSION2, "away", clean_session=False)
        subscriber.on_connect, subscriber.on_message = on_connect, lambda _c, _u, message: back._add(message)
        subscriber.connect("127.0.0.1", forgetful.port)
        subscriber.loop_start()
        assert present.wait(10), "the broker claims to have kept the session"
        wanted = {event(seq).payload for seq in range(1, 22)}
        back.wait_until(lambda collector: {message.payload for message in collector.messages} >= wanted)
        hang_up(subscriber)
        returned.close()


def test_a_subscriber_that_comes_back_late_has_missed_nothing(broker: Broker, tmp_path: Path) -> None:
    with running_events(broker.port, tmp_path / "outbox") as running:
        running.wait_until(lambda publisher: publisher.connected)
        numbers = put(running, 50)
        running.wait_until(lambda publisher: publisher.published > 2)  # the first was sent, and again
        subscriber = Faithful(broker.port)
        subscriber.wait_until(lambda _: len(subscriber.numbers()) == 50)
        assert subscriber.numbers() == numbers
        subscriber.close()


def test_a_backlog_does_not_overrun_a_subscriber_that_is_slow(broker: Broker, tmp_path: Path) -> None:
    """Mosquitto keeps 1000 messages for it, drops what is beyond, and gives its receipt all the same."""
    broker.stop()
    with running_events(broker.port, tmp_path / "outbox", catch_up_rate=200) as running:
        numbers = put(running, 1300)
        running.wait_until(lambda _: running.outbox.events.stats().stored == 1300)
        broker.start()
        subscriber = Faithful(broker.port, pause_s=0.005)  # on a busy machine 0.02
        subscriber.wait_until(lambda seen: len(seen.messages) >= 1300, deadline_s=60)  # cheap, for it slows it down
        subscriber.wait_until(lambda _: len(subscriber.numbers()) == 1300)
        assert subscriber.numbers() == numbers
        subscriber.close()


@pytest.mark.slow
def test_nothing_is_lost_when_a_forgetful_broker_is_killed_again_and_again(forgetful: Broker, tmp_path: Path) -> None:
    subscriber = Faithful(forgetful.port)
    with running_events(forgetful.port, tmp_path / "outbox", settle_s=1.5) as running:
        numbers: List[int] = []
        for _ in range(4):
            until = time.monotonic() + 4
            while time.monotonic() < until:
                numbers += put(running, 1, f"sightd/porch/cam{len(numbers) % 4}/events")
                time.sleep(0.01)
            forgetful.kill()
            forgetful.start()
        numbers += put(running, 1)
        # Not for the last one: it is of another topic, whose first event goes ahead of what the others have gathered.
        subscriber.wait_until(lambda _: set(subscriber.numbers()) >= set(numbers), deadline_s=60)
        for camera in range(4):
            own = subscriber.numbers(f"cam{camera}")
            assert own == sorted(own)
        assert running.publisher.connections >= 5
        assert running.outbox.events.stats().dropped == {}
    subscriber.close()


def test_a_killed_daemon_loses_nothing_that_it_had_stored(broker: Broker, tmp_path: Path) -> None:
    subscriber = Faithful(broker.port)
    folder = tmp_path / "outbox"
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port), str(folder)], cwd=ROOT)
        before = len(subscriber.messages)
        subscriber.wait_until(lambda collector, before=before: len(collector.messages) > before + 200, deadline_s=30)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    spool = EventSpool(DiskOptions(folder))
    last = spool.next_seq() - 1
    spool.close()
    with running_events(broker.port, folder):
        subscriber.wait_until(lambda _: len(subscriber.numbers()) == last)
    assert sorted(subscriber.numbers()) == list(range(1, last + 1))
    for camera in range(2):
        own = subscriber.numbers(f"cam{camera}")
        assert own == sorted(own)
    subscriber.close()
