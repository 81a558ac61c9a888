"""Commands that nobody would send, by the thousand, to a daemon that runs: refused, counted, the next one obeyed."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Callable, List, Tuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.outcome import Outcome
from tests.chaos.rig import PATIENCE_S, PREFIX, Rig, running_rig
from tests.chaos.subscriber import Subscriber

__all__ = ["command_fuzz"]

_CAMERAS = ("yard", "gate")
_BITES = [
    b"",
    b"\0",
    b"on",
    b"ON ",
    b"OFF\n",
    b"1",
    b"true",
    b"{}",
    b"[" * 5000,
    b"\xff\xfe",
    b"9" * 400,
    b"x" * 200_000,
]
_NAMES = [*_CAMERAS, "nobody", "YARD", "yard ", "..", "a" * 5000, "\u4e2d", "$SYS", "info"]


def command_fuzz(folder: Path, seed: int, times: int) -> List[Outcome]:
    """Send *times* of them, then switch a camera off and on; "lost" is that one, if it is not obeyed."""
    rng = random.Random(seed)
    with running_rig(folder, _CAMERAS, seed=seed, mqtt="keepalive_s: 10, commands: true") as rig:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(0)
        client.connect("127.0.0.1", rig.broker.port)
        client.loop_start()
        try:
            for topic, payload, retain in (_made(rng) for _ in range(times)):
                client.publish(topic, payload, qos=1, retain=retain)
            obeyed_s = _switched(rig, client)
        finally:
            client.disconnect()
            client.loop_stop()
        recovered_s = rig.all_fresh_after(time.time())
        refused = sum(rig.stats()["commands"]["refused"].values())
        assert rig.daemon.stop() == 0, rig.daemon.log[-2000:]
    notes = {"refused": refused, "obeyed_s": obeyed_s}
    return [Outcome("fuzz: commands", times, int(obeyed_s < 0), recovered_s=recovered_s, notes=notes)]


def _made(rng: random.Random) -> Tuple[str, bytes, bool]:
    valid = rng.choice([b"ON", b"OFF"])
    noise = bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
    payload = rng.choice([valid, noise, rng.choice(_BITES)])
    return f"{PREFIX}/{rng.choice(_NAMES)}/enabled/set", payload, rng.random() < 0.2


def _switched(rig: Rig, client: mqtt.Client) -> float:
    """Seconds until a camera that is switched off and on has obeyed both times; -1: it has not."""
    topic = f"{PREFIX}/{_CAMERAS[0]}/enabled"
    began = time.time()
    try:
        for word in (b"OFF", b"ON", b"OFF", b"ON"):  # by now it is either
            client.publish(f"{topic}/set", word, qos=1)
            rig.subscriber.wait_until(_newest_is(f"{topic}/state", word), PATIENCE_S)
        client.publish(f"{PREFIX}/{_CAMERAS[1]}/enabled/set", b"ON", qos=1).wait_for_publish(PATIENCE_S)
    except AssertionError:
        return -1.0
    return time.time() - began


def _newest_is(topic: str, payload: bytes) -> Callable[[Subscriber], bool]:
    return lambda seen: seen.newest(topic) == payload
