"""Commands, from the bytes that a broker delivers to what becomes of the cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

import msgspec
import paho.mqtt.client as mqtt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from daemon.commands import Commands
from daemon.messages import StatsMessage
from daemon.outbox import Outbox
from daemon.plan import CameraPlan, Plan, Suppression
from daemon.rules import Rule
from daemon.topics import Topics
from tests.parts.broker import Broker, collect, running_broker
from tests.parts.clips import write_clip
from tests.parts.daemon import running_daemon, write_quadrant_bundle
from tests.parts.publishing import publishing, warnings_of
from tests.parts.scripted_broker import scripted_broker

TOPICS = Topics("sightd/box")
CONFIGURED = {"gate": True, "yard": True, "spare": False}


class Rig:
    """Commands, and what they were about to do."""

    def __init__(self, configured: Dict[str, bool], *, listen: bool = True) -> None:
        self.configured, self.outbox, self.now = configured, Outbox(), 1000.0
        self.commands = Commands(TOPICS, self.outbox, lambda: self.configured, listen=listen)

    def send(self, camera: str, payload: bytes, *, retained: bool = False) -> None:
        self.deliver(f"sightd/box/{camera}/enabled/set", payload, retained)

    def deliver(self, topic: str, payload: bytes, retained: bool) -> None:
        assert self.commands.inbox is not None
        self.commands.inbox.on_message(topic, payload, retained)

    def obey(self, after_s: float = 2.0) -> bool:
        self.now += after_s
        return self.commands.obey(self.now)

    def off(self) -> Set[str]:
        """The cameras that a plan of all of them has no more."""
        plan = Plan({name: CameraPlan(name) for name in self.configured}, {}, {})
        return {name for name, camera in self.commands.applied(plan).cameras.items() if camera is None}

    def said(self) -> Dict[str, bytes]:
        self.commands.say()
        return {message.topic: message.payload for message in self.outbox.take(100) if message.retain}


@pytest.fixture
def rig() -> Any:
    made = Rig(dict(CONFIGURED))
    yield made
    made.outbox.close()


# What a command does


def test_a_camera_is_switched_off_and_on_and_the_state_says_so(rig: Rig) -> None:
    assert rig.said() == {
        "sightd/box/gate/enabled/state": b"ON",
        "sightd/box/yard/enabled/state": b"ON",
        "sightd/box/spare/enabled/state": b"OFF",
    }
    rig.send("gate", b"OFF")
    assert rig.off() == set(), "not before the main thread obeys"
    assert rig.obey()
    assert rig.off() == {"gate"}
    assert rig.said() == {"sightd/box/gate/enabled/state": b"OFF"}
    rig.send("gate", b"OFF")
    assert not rig.obey(), "it is off already"
    rig.send("gate", b"ON")
    assert rig.obey()
    assert rig.off() == set()
    assert rig.said() == {"sightd/box/gate/enabled/state": b"ON"}
    assert (rig.commands.accepted, rig.commands.refused) == (3, {})


def test_every_camera_may_be_switched_off(rig: Rig) -> None:
    rig.send("gate", b"OFF")
    rig.send("yard", b"OFF")
    assert rig.obey()
    assert rig.off() == {"gate", "yard"}


def test_a_plan_without_a_camera_reports_nothing_of_it() -> None:
    rule = Rule("/b", 0.5, None)
    both = Plan({"a": CameraPlan("x"), "b": CameraPlan("y")}, {"a": rule, "b": rule}, {"/b": Suppression(0.5)})
    left = both.without({"a"})
    assert (left.cameras["a"], list(left.rules), left.models) == (None, ["b"], both.models)
    assert both.without(set()) == both


def test_a_reload_keeps_what_was_commanded_unless_the_settings_disable_the_camera(rig: Rig) -> None:
    rig.send("gate", b"OFF")
    rig.send("yard", b"OFF")
    rig.obey()
    rig.configured = {"gate": True, "yard": False, "new": True}
    assert rig.off() == {"gate"}
    assert rig.said() == {
        "sightd/box/gate/enabled/state": b"OFF",
        "sightd/box/yard/enabled/state": b"OFF",
        "sightd/box/new/enabled/state": b"ON",
    }
    rig.configured = {"gate": True, "yard": True}
    assert rig.off() == {"gate"}, "the settings have the last word on yard"
    assert rig.said() == {"sightd/box/yard/enabled/state": b"ON", "sightd/box/new/enabled/state": b""}


def test_a_command_that_waits_while_its_camera_is_removed_does_nothing(rig: Rig) -> None:
    rig.send("gate", b"OFF")
    rig.configured = {"yard": True}
    assert not rig.obey()


def test_without_the_setting_nothing_is_subscribed_to_and_nothing_said() -> None:
    made = Rig(dict(CONFIGURED), listen=False)
    assert made.commands.inbox is None
    assert made.said() == {}
    with scripted_broker() as broker, publishing(broker.port, TOPICS, inbox=made.commands.inbox) as running:
        running.wait_until(lambda _: broker.published != [])
        assert broker.subscribed == []
    made.outbox.close()


# What is refused


@pytest.mark.parametrize(
    ("camera", "payload", "retained", "reason", "advice"),
    [
        ("gate", b"OFF", True, "retained", "publish it without retain"),
        ("gate", b"off", False, "malformed", "must be ON or OFF"),
        ("gate", b"OFF\n", False, "malformed", "must be ON or OFF"),
        ("gate", b"", False, "malformed", "must be ON or OFF"),
        ("gate", b"\xff\xfe", False, "malformed", "must be ON or OFF"),
        ("gate", b"O" * 10_000_000, False, "malformed", "must be ON or OFF"),
        ("door", b"OFF", False, "unknown", "no such camera"),
        ("gate/x", b"OFF", False, "unknown", "no such camera"),
        ("", b"OFF", False, "unknown", "no such camera"),
        ("spare", b"ON", False, "disabled", "only they can enable it"),
    ],
)
def test_what_is_no_command_changes_nothing_and_is_counted_and_told_once(
    camera: str, payload: bytes, retained: bool, reason: str, advice: str, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.said()
    for _ in range(50):
        rig.send(camera, payload, retained=retained)
    assert not rig.obey()
    assert rig.said() == {}
    assert (rig.commands.accepted, rig.commands.refused) == (0, {reason: 50})
    (warning,) = warnings_of(caplog)
    assert advice in warning


def test_a_flood_switches_a_camera_once_a_second_and_the_last_word_counts(rig: Rig) -> None:
    switched = 0
    for number in range(1000):
        rig.send("gate", b"OFF" if number % 2 else b"ON")
        switched += rig.obey(after_s=0.01)  # 10 s in all
    rig.send("gate", b"ON")
    rig.obey()
    assert switched <= 10
    assert rig.off() == set()
    assert rig.commands.refused["superseded"] >= 980
    rig.send("yard", b"OFF")
    assert rig.obey(after_s=0.0), "another camera is not concerned"


def test_a_topic_that_somebody_made_up_can_not_write_lines_into_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.send("x\nERROR forged " + "y" * 10_000, b"OFF")
    (warning,) = warnings_of(caplog)
    assert "\n" not in warning
    assert len(warning) < 300


LEVELS = st.sampled_from(
    ["sightd", "box", "gate", "yard", "spare", "enabled", "set", "state", "status", "+", "#", "", "$SYS"]
)
MADE_UP = st.one_of(st.lists(LEVELS, max_size=7).map("/".join), st.text(max_size=60))
REAL = st.sampled_from([f"sightd/box/{name}/enabled/set" for name in [*CONFIGURED, "door", "GATE", "gate "]])
PAYLOADS = st.one_of(st.sampled_from([b"ON", b"OFF", b"on", b"ON\0", b" OFF", b"true", b"1"]), st.binary(max_size=200))


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.tuples(st.one_of(REAL, MADE_UP), PAYLOADS, st.booleans()), min_size=1, max_size=8))
@example([("sightd/box/gate/enabled/set", b"OFF", False)])
def test_nothing_but_a_command_has_an_effect_and_nothing_raises(delivered: List[Tuple[str, bytes, bool]]) -> None:
    made, expected = Rig(dict(CONFIGURED)), set()
    valid = {f"sightd/box/{name}/enabled/set": name for name in ("gate", "yard")}
    for topic, payload, retained in delivered:
        made.deliver(topic, payload, retained)
        if topic in valid and payload in (b"ON", b"OFF") and not retained:
            (expected.add if payload == b"OFF" else expected.discard)(valid[topic])
    made.obey()
    assert made.off() == expected
    assert made.commands.accepted + sum(made.commands.refused.values()) == len(delivered)
    made.outbox.close()


# On a broker


def send(broker: Broker, camera: str, payload: bytes, *, retain: bool = False, user: str = "") -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if user:
        client.username_pw_set(user, "p")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(f"sightd/box/{camera}/enabled/set", payload, qos=1, retain=retain).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def stats_of(payloads: Dict[str, bytes]) -> StatsMessage:
    return msgspec.json.decode(payloads["sightd/box/stats"], type=StatsMessage)


ACL = """
user sightd
topic write sightd/box/#
topic read sightd/box/+/enabled/set

user operator
topic write sightd/box/+/enabled/set

user viewer
topic read #
"""


def test_a_service_obeys_those_whom_the_acl_lets_command_it(tmp_path: Path) -> None:
    write_quadrant_bundle(tmp_path)
    for name in ("yard", "gate"):
        write_clip(tmp_path / f"{name}.avi", count=50)
    users = dict.fromkeys(["sightd", "operator", "viewer"], "p")
    (tmp_path / "broker").mkdir()
    with running_broker(tmp_path / "broker", users=users, acl=ACL) as broker:
        send(broker, "yard", b"OFF", retain=True, user="operator")
        mqtt_ = f"{{port: {broker.port}, username: sightd, password: p, commands: true}}"
        cameras = "cameras:\n  yard: {url: yard.avi}\n  gate: {url: gate.avi}\n"
        config = f"node: box\nmqtt: {mqtt_}\nstats_interval_s: 1\n{cameras}"
        with collect(broker, user=("viewer", "p")) as seen, running_daemon(tmp_path, config) as daemon:
            seen.wait_for("sightd/box/gate/status", b"online", 30)
            seen.wait_for("sightd/box/yard/status", b"online", 30)
            send(broker, "gate", b"OFF", user="viewer")
            send(broker, "gate", b"OFF", user="operator")
            seen.wait_for("sightd/box/gate/status", b"disabled")
            seen.wait_for("sightd/box/gate/enabled/state", b"OFF")
            seen.wait_until(lambda c: "sightd/box/stats" in c.newest)
            seen.wait_until(lambda c: stats_of(c.newest).cameras["gate"].state == "disabled")
            stats = stats_of(seen.newest)
            assert (stats.commands.accepted, stats.commands.refused) == (1, {"retained": 1})
            daemon.reload(config.replace("cameras:", "max_objects: 7\ncameras:"))
            seen.wait_until(lambda c: b'"applied"' in c.newest["sightd/box/config"])
            send(broker, "yard", b"OFF", user="operator")
            seen.wait_for("sightd/box/yard/status", b"disabled")
            assert seen.newest["sightd/box/gate/status"] == b"disabled"
            send(broker, "gate", b"ON", user="operator")
            seen.wait_for("sightd/box/gate/status", b"online")
            assert daemon.stop() == 0
        assert "camera gate is switched off by command" in daemon.log
        assert "command on 'sightd/box/yard/enabled/set' refused: the broker had kept it" in daemon.log
        assert "Traceback" not in daemon.log


def test_a_huge_payload_reaches_nobody(tmp_path: Path) -> None:
    """In MQTT 5 the broker keeps it back, for we say what we take."""
    made = Rig(dict(CONFIGURED))
    with running_broker(tmp_path) as broker, publishing(broker.port, TOPICS, inbox=made.commands.inbox) as running:
        running.wait_until(lambda publisher: publisher.connected)
        send(broker, "gate", b"x" * 1_000_000)
        send(broker, "gate", b"OFF")
        running.wait_until(lambda _: made.obey())
        assert running.publisher.connections == 1
        assert made.commands.refused == {}
    made.outbox.close()


@pytest.mark.parametrize("length", [65 << 10, 200 << 20])
def test_a_broker_that_sends_us_a_huge_packet_all_the_same_is_left(length: int) -> None:
    made = Rig(dict(CONFIGURED))
    header = bytes([0x30, length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21])
    with scripted_broker(afterwards=header + b"x" * 1000) as broker, publishing(
        broker.port, TOPICS, inbox=made.commands.inbox
    ) as running:
        running.wait_until(lambda publisher: publisher.connections > 0 and not publisher.connected)
    made.outbox.close()


def test_a_broker_that_does_not_let_us_subscribe_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    made = Rig(dict(CONFIGURED))
    with scripted_broker(suback=0x87) as broker, publishing(broker.port, TOPICS, inbox=made.commands.inbox) as running:
        running.wait_until(lambda publisher: publisher.denied == 1)
        assert running.publisher.last_denial == "Not authorized: sightd/box/+/enabled/set"
        assert running.publisher.connected
        assert b"sightd/box/+/enabled/set\x00" in broker.subscribed[0], "with QoS 0"
    (warning,) = warnings_of(caplog)
    assert "does not let us subscribe to sightd/box/+/enabled/set (Not authorized)" in warning
    made.outbox.close()
