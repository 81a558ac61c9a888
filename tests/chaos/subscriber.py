"""A subscriber whose session the broker keeps: a process of its own that writes down all that comes, kill or no kill.

``python -m tests.chaos.subscriber PORT FILTER`` prints a JSON line a message.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, List, Optional, Type

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from tests.parts.broker import Received

__all__ = ["Subscriber"]

_ROOT = Path(__file__).parents[2]
#: Sooner back than any publisher, so that a broker which lost the session has the subscription before it has messages.
_RETRY_S = 0.02
_SUBSCRIBED = "subscribed"


class Subscriber:
    """The process and what it received so far; a context manager. *folder* gets its log."""

    def __init__(self, port: int, folder: Path, topic: str = "#") -> None:
        self._log = folder / "subscriber.jsonl"
        self._command = [sys.executable, "-m", "tests.chaos.subscriber", str(port), topic]
        self._read = 0
        self._messages: List[Received] = []
        #: How often it subscribed: once, and again after each broker that forgot it or died.
        self.subscriptions = 0

    def __enter__(self) -> Subscriber:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, cwd=_ROOT)
        self.wait_until(lambda _: self.subscriptions > 0, 30)
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._process.kill()
        self._process.wait(10)

    @property
    def messages(self) -> List[Received]:
        """All so far, in the order in which they came; it grows at the next look."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            news = log.read()
        whole = news[: news.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))
        return self._messages

    def since(self, moment: float) -> List[Received]:
        """What came at *moment* (Unix seconds) or later."""
        messages = self.messages
        first = len(messages)
        while first and messages[first - 1].received_at >= moment:
            first -= 1
        return messages[first:]

    def newest(self, topic: str) -> bytes:
        """The last payload of *topic*; b"" when there was none."""
        return next((message.payload for message in reversed(self.messages) if message.topic == topic), b"")

    def wait_until(self, holds: Callable[[Subscriber], bool], deadline_s: float) -> None:
        """Wait until *holds* of it; an AssertionError with the last messages after *deadline_s*."""
        deadline = time.monotonic() + deadline_s
        while self.messages is not None and not holds(self):
            if time.monotonic() > deadline:
                tail = [(message.topic, message.payload[:80]) for message in self.messages[-10:]]
                raise AssertionError(f"not within {deadline_s} s; {len(self.messages)} received, the last: {tail}")
            assert self._process.poll() is None, "the subscriber died"
            time.sleep(0.05)

    def _take(self, line: List[Any]) -> None:
        if line == [_SUBSCRIBED]:
            self.subscriptions += 1
        else:
            topic, payload, qos, retained, received_at = line
            self._messages.append(Received(topic, payload.encode("latin-1"), qos, retained, received_at))


def _main(port: str, topic: str) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "chaos-subscriber", clean_session=False)

    def on_connect(*_: Any) -> None:
        client.subscribe(topic, qos=1)

    def on_message(_client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        _say(message.topic, message.payload.decode("latin-1"), message.qos, message.retain, time.time())

    client.on_connect, client.on_message = on_connect, on_message
    client.on_subscribe = lambda *_: _say(_SUBSCRIBED)
    while True:
        with contextlib.suppress(OSError, ValueError):
            client.connect("127.0.0.1", int(port), keepalive=5)
            while client.loop(0.5) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                pass
        time.sleep(_RETRY_S)


def _say(*values: Any) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201  (the parent reads it)


if __name__ == "__main__":
    _main(*sys.argv[1:])
