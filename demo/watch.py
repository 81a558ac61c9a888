"""A subscriber like any other: it prints detections as they arrive over MQTT and keeps the figures of each camera."""

from __future__ import annotations

import queue
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.text import Text

from .broker import BrokerAddress

__all__ = ["CameraFigures", "Watcher"]

_COLOURS = ("cyan", "magenta", "yellow", "green")
#: Of each camera one line in this time is printed; all messages are counted.
_LINE_EVERY_S = 1.0
_POLL_S = 0.1

#: Wall clock of the arrival, topic, payload.
_Arrival = Tuple[float, str, bytes]


@dataclass
class CameraFigures:
    """What arrived from one camera."""

    colour: str
    #: Wall clock of each message's arrival, Unix seconds.
    arrived_at: List[float] = field(default_factory=list)
    #: From captured (decoded) to arrived here, of each message.
    latencies_s: List[float] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    printed_at: float = 0.0

    @property
    def fps(self) -> float:
        """Messages a second between the first and the last."""
        if len(self.arrived_at) < 2:
            return 0.0
        return (len(self.arrived_at) - 1) / max(self.arrived_at[-1] - self.arrived_at[0], 1e-3)

    def latency_ms(self, percentile: float) -> float:
        """Percentile of the latency; at least one message must have arrived."""
        return float(np.percentile(self.latencies_s, percentile)) * 1e3


class _Object(msgspec.Struct):
    label: str
    score: float


class _Detections(msgspec.Struct):
    captured_at: float
    objects: List[_Object]


class Watcher:
    """Subscribed to the detections and the availability of one node. Used on one thread; paho's only fills a queue."""

    def __init__(self, address: BrokerAddress, prefix: str, console: Console) -> None:
        self.cameras: Dict[str, CameraFigures] = {}
        #: What the node last said of itself: online, stopped, offline, or nothing yet.
        self.availability = ""
        self._address = address
        self._prefix = prefix
        self._console = console
        # Bounded; when full, paho's thread waits and the broker holds the rest back.
        self._arrivals: queue.Queue[_Arrival] = queue.Queue(10_000)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._queue

    def __enter__(self) -> Watcher:
        self._client.connect(self._address.host, self._address.port)
        self._client.loop_start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def watch(self, enough: Callable[[], bool]) -> None:
        """Handle what arrives until *enough* says so; it is asked at least every 0.1 s."""
        while not enough():
            try:
                arrived_at, topic, payload = self._arrivals.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            self._handle(arrived_at, topic[len(self._prefix) + 1 :], payload)

    def _handle(self, arrived_at: float, topic: str, payload: bytes) -> None:
        if topic == "available":
            self.availability = payload.decode("utf-8", "replace")
            self._console.print(f"{self._prefix}/available → [bold]{self.availability}[/]")
            return
        camera = topic.rpartition("/")[0]
        figures = self.cameras.setdefault(camera, CameraFigures(_COLOURS[len(self.cameras) % len(_COLOURS)]))
        message = msgspec.json.decode(payload, type=_Detections)
        labels = Counter(item.label for item in message.objects)
        figures.arrived_at.append(arrived_at)
        figures.latencies_s.append(arrived_at - message.captured_at)
        figures.labels.update(labels)
        if arrived_at - figures.printed_at >= _LINE_EVERY_S:
            figures.printed_at = arrived_at
            self._console.print(_line(camera, figures, message))

    def _subscribe(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(f"{self._prefix}/available", 1), (f"{self._prefix}/+/detections", 0)])

    def _queue(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        self._arrivals.put((time.time(), message.topic, bytes(message.payload)))


def _line(camera: str, figures: CameraFigures, message: _Detections) -> Text:
    """``12:34:56.7 north  84 ms  2 person 0.81  1 bicycle 0.40``: count and best score a label."""
    clock = time.strftime("%H:%M:%S", time.localtime(figures.arrived_at[-1]))
    line = Text(f"{clock} ", style="dim")
    line.append(f"{camera:<10}", style=f"bold {figures.colour}")
    line.append(f"{figures.latencies_s[-1] * 1e3:6.0f} ms  ", style="dim")
    best: Dict[str, float] = {}
    for item in message.objects:
        best[item.label] = max(item.score, best.get(item.label, 0.0))
    counts = Counter(item.label for item in message.objects)
    objects = "  ".join(f"{counts[label]} {label} {score:.2f}" for label, score in best.items())
    return line.append(objects or "nothing", style="" if objects else "dim")
