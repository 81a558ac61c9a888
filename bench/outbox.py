"""Events through the durable outbox to a real mosquitto, and through paho alone, which keeps them in memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from daemon.broker import BrokerOptions
from daemon.outbox import Message, Outbox
from daemon.outbox.disk import DiskOptions, EventDisk
from daemon.outbox.spool import EventSpool
from daemon.publisher import Publisher
from daemon.topics import Topics
from tests.parts.broker import Broker, running_broker

from .result import Result

__all__ = ["run"]

_IN_FLIGHT = 10
_CAMERAS = 4
#: About what an event with before and after needs, in bytes.
_PAYLOAD = b"x" * 1200
#: Events without a receipt that are put ahead, so that neither side ever waits for work, nor holds all of it.
_AHEAD = 1000
_ROUNDS = 3

#: A subscriber beside us: without one a broker has nothing to do, and says so.
_SUBSCRIBER = """
import sys
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
client = mqtt.Client(CallbackAPIVersion.VERSION2)
client.on_connect = lambda *_: client.subscribe("bench/#", qos=1)
client.on_subscribe = lambda *_: print("subscribed", flush=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
"""


def run(quick: bool) -> Result:
    """Each *count* events of four cameras, in turns; events a second are counted to the broker's last receipt."""
    count = 3000 if quick else 15000
    rates: Dict[str, List[float]] = {"outbox": [], "memory": [], "paho": []}
    puts_us: List[float] = []
    commits = 0
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder)) as broker, _subscriber(broker):
        for number in range(_ROUNDS):
            with _counted_commits() as counted:
                rate, cost = _outbox(
                    broker, EventSpool(DiskOptions(Path(folder) / f"spool{number}"), settle_s=0), count
                )
            rates["outbox"].append(rate)
            puts_us += cost
            commits += len(counted)
            rates["memory"].append(_outbox(broker, EventSpool(settle_s=0), count)[0])
            rates["paho"].append(_paho(broker, count))
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    figures = {
        "events_per_s": round(medians["outbox"]),
        "paho_events_per_s": round(medians["paho"]),
        "ratio": round(medians["outbox"] / medians["paho"], 3),
        "ratio_without_disk": round(medians["memory"] / medians["paho"], 3),
        "put_us_p50": round(float(np.percentile(puts_us, 50)), 1),
        "put_us_p99": round(float(np.percentile(puts_us, 99)), 1),
        "put_ms_max": round(max(puts_us) / 1000, 2),
        "events_per_commit": round(_ROUNDS * count / commits, 1),
    }
    conditions = {"events": count, "rounds": _ROUNDS, "payload_bytes": len(_PAYLOAD), "in_flight": _IN_FLIGHT}
    return Result("outbox", figures, ["figure", "value"], [list(item) for item in figures.items()], conditions)


def _outbox(broker: Broker, spool: EventSpool, count: int) -> Tuple[float, List[float]]:
    """Events a second, and the microseconds of each put."""
    outbox, stop = Outbox(events=spool), threading.Event()
    publisher = Publisher(BrokerOptions("127.0.0.1", broker.port, client_id="bench"), Topics("bench/sightd"), outbox)
    threads = [threading.Thread(target=spool.run), threading.Thread(target=publisher.run, args=(stop,))]
    for thread in threads:
        thread.start()
    _wait_until(lambda: publisher.connected)
    cost: List[float] = []
    started = time.monotonic()
    for number in range(count):
        message = Message(f"bench/cam{number % _CAMERAS}/events", _PAYLOAD, seq=outbox.next_seq())
        began = time.perf_counter()
        outbox.put(message)
        cost.append((time.perf_counter() - began) * 1e6)
        if number % 100 == 0:
            _wait_until(lambda: len(spool) < _AHEAD)
    _wait_until(lambda: len(spool) == 0)
    rate = count / (time.monotonic() - started)
    stop.set()
    threads[1].join()
    publisher.close()
    spool.finish()
    threads[0].join()
    outbox.close()
    return rate, cost


def _paho(broker: Broker, count: int) -> float:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-paho", protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(_IN_FLIGHT)
    receipts: List[int] = []
    client.on_publish = lambda *_: receipts.append(1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    _wait_until(client.is_connected)
    started = time.monotonic()
    for number in range(count):
        client.publish(f"bench/cam{number % _CAMERAS}/events", _PAYLOAD, qos=1)
        if number % 100 == 0:
            _wait_until(lambda sent=number: sent - len(receipts) < _AHEAD)  # type: ignore[misc]
    _wait_until(lambda: len(receipts) == count)
    rate = count / (time.monotonic() - started)
    client.disconnect()
    client.loop_stop()
    return rate


@contextmanager
def _counted_commits() -> Iterator[List[int]]:
    """One entry a commit."""
    counted: List[int] = []
    write = EventDisk.write

    def count(disk: EventDisk, *what: Any) -> Any:
        counted.append(1)
        return write(disk, *what)

    EventDisk.write = count  # type: ignore[method-assign]
    try:
        yield counted
    finally:
        EventDisk.write = write  # type: ignore[method-assign]


@contextmanager
def _subscriber(broker: Broker) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _SUBSCRIBER, str(broker.port)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _wait_until(holds: Callable[[], bool], deadline_s: float = 120) -> None:
    deadline = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {deadline_s:.0f} s: is the broker alive?")
        time.sleep(0.0005)
