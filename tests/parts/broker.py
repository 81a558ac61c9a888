"""A real mosquitto of a test's own, which can be killed, frozen and restarted, and a subscriber that collects."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from demo.ports import free_port
from tests.parts.certificates import Pair
from tests.parts.requires import require

__all__ = ["Broker", "Collector", "Received", "TlsListener", "collect", "free_port", "hang_up", "running_broker"]

_PATH = {**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])}


@dataclass(frozen=True)
class TlsListener:
    """What a broker needs for TLS."""

    own: Pair
    #: Who signs its clients' certificates.
    ca_file: Path
    wants_certificate: bool = False


@contextmanager
def running_broker(
    folder: Path,
    *,
    users: Optional[Mapping[str, str]] = None,
    acl: str = "",
    port: int = 0,
    tls: Optional[TlsListener] = None,
    lines: str = "",
) -> Iterator[Broker]:
    """A broker without persistence that lives in *folder*; without *users* (name: password) it takes anybody.

    With *tls* it listens on ``tls_port`` beside its plain ``port``. *lines* are added to its configuration.
    """
    require("mosquitto")
    broker = Broker(folder, users or {}, acl, port or free_port(), tls, lines)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Broker:
    """mosquitto on ``127.0.0.1:port``; start() after kill() or stop() is a restart on the same port."""

    def __init__(
        self,
        folder: Path,
        users: Mapping[str, str],
        acl: str,
        port: int,
        tls: Optional[TlsListener] = None,
        lines: str = "",
    ) -> None:
        self.port = port
        self.tls_port = free_port() if tls else 0
        self._folder = folder
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._configure(users, acl, tls, lines)

    def start(self) -> None:
        """Return once it listens, on both ports where it has two."""
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", str(self._folder / "mosquitto.conf")], stdout=log, stderr=log, env=_PATH
            )
        deadline = time.monotonic() + 10
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("mosquitto does not start: " + (self._folder / "mosquitto.log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9: it forgets everything and says goodbye to nobody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly end."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stall it: connections stay up and nothing is answered, until thaw(), kill() or stop()."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        deadline = time.monotonic() + 10
        while process is not None and process.poll() is None:
            assert time.monotonic() < deadline, "mosquitto does not end"
            for number in (signum, signal.SIGCONT):  # again, for it forgets what comes right before its loop
                process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)

    def _listens(self) -> bool:
        return all(_is_open(port) for port in (self.port, self.tls_port) if port)

    def _configure(self, users: Mapping[str, str], acl: str, tls: Optional[TlsListener], more: str) -> None:
        # mosquitto gives root away before it reads the other files, which only we may read.
        lines = [f"listener {self.port} 127.0.0.1", f"user {pwd.getpwuid(os.geteuid()).pw_name}", "persistence false"]
        lines += ["set_tcp_nodelay true", f"allow_anonymous {'false' if users else 'true'}"]
        if users:
            lines.append(f"password_file {self._write_passwords(users)}")
        if acl:
            (self._folder / "acl").write_text(acl)
            (self._folder / "acl").chmod(0o600)
            lines.append(f"acl_file {self._folder / 'acl'}")
        if tls:
            lines += [f"listener {self.tls_port} 127.0.0.1", f"cafile {tls.ca_file}"]
            lines += [f"certfile {tls.own.cert_file}", f"keyfile {tls.own.key_file}"]
            lines.append(f"require_certificate {'true' if tls.wants_certificate else 'false'}")
        (self._folder / "mosquitto.conf").write_text("\n".join(lines) + "\n" + more)

    def _write_passwords(self, users: Mapping[str, str]) -> Path:
        path = self._folder / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        path.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, env=_PATH)
        return path


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Received:
    topic: str
    payload: bytes
    qos: int
    #: Whether the broker had kept it from before we subscribed.
    retained: bool
    #: Wall clock (Unix seconds) when it arrived.
    received_at: float


@contextmanager
def collect(broker: Broker, topic: str = "#", *, user: Tuple[str, str] = ("", "")) -> Iterator[Collector]:
    """A subscriber to *topic* (QoS 1), subscribed once this is entered."""
    collector = Collector()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _userdata, message: collector._add(message)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    if user[0]:
        client.username_pw_set(*user)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        assert subscribed.wait(10), "the subscriber is not subscribed after 10 s"
        yield collector
    finally:
        hang_up(client)


def hang_up(client: mqtt.Client) -> None:
    """Disconnect *client* and let go of what it calls: in a circle with that its sockets would be collected open."""
    client.disconnect()
    client.loop_stop()
    client.on_connect = client.on_message = client.on_subscribe = None


class Collector:
    """What a subscriber received so far."""

    def __init__(self) -> None:
        self._received: List[Received] = []
        self._changed = threading.Condition()

    @property
    def messages(self) -> List[Received]:
        with self._changed:
            return list(self._received)

    @property
    def newest(self) -> Dict[str, bytes]:
        """The last payload of each topic."""
        return {message.topic: message.payload for message in self.messages}

    def wait_until(self, holds: Callable[[Collector], bool], deadline_s: float = 30) -> None:
        """Wait until *holds* of this collector; fails with what came after *deadline_s*."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self), deadline_s):
                tail = [(message.topic, message.payload[:80]) for message in self._received[-10:]]
                raise AssertionError(f"not within {deadline_s} s; {len(self._received)} received, the last: {tail}")

    def wait_for(self, topic: str, payload: bytes, deadline_s: float = 30) -> None:
        """Wait until the newest payload of *topic* is *payload*."""
        self.wait_until(lambda collector: collector.newest.get(topic) == payload, deadline_s)

    def _add(self, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self._received.append(Received(message.topic, message.payload, message.qos, message.retain, time.time()))
            self._changed.notify_all()
