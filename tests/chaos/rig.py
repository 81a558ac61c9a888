"""Everything that can break: cameras behind proxies, a broker behind one, the daemon, and somebody who listens."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

import msgspec

from daemon.messages import DetectionsMessage
from tests.chaos.clock import age_s, write_clock_bundle
from tests.chaos.processes import family, name_of
from tests.chaos.subscriber import Subscriber
from tests.parts.broker import Broker, running_broker
from tests.parts.daemon import Daemon, running_daemon
from tests.parts.proxy import Proxy
from tests.parts.rtsp import RtspServer

__all__ = ["STALE_S", "Camera", "Rig", "Seen", "running_rig"]

#: Of the cameras, as slow ones take long to be opened; and of what the daemon looks at.
CAMERA_FPS, FPS = 15, 5
#: A picture that is older when the daemon takes it is stale: 2 s without one end a connection.
STALE_S = 2.0
#: From this many seconds of one picture on a camera is frozen; before that its old picture is as good as any.
FROZEN_AFTER_S = 1.0
PREFIX = "sightd/chaos"
#: The machine may be busy with more than us: what is waited for, not what is promised.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Seen:
    """A detections message."""

    received_at: float
    captured_at: float
    #: Of the picture, when it was taken.
    age_s: float


class Camera:
    """An RTSP server of its own and the proxy that stands before it."""

    def __init__(self, name: str, stack: ExitStack, seed: int) -> None:
        self.name = name
        self.server = stack.enter_context(RtspServer(f"clock:{CAMERA_FPS}:{CAMERA_FPS}"))
        self.proxy = stack.enter_context(Proxy(self.server.port, seed))
        self.url = f"rtsp://127.0.0.1:{self.proxy.port}/0"


class Rig:
    """What runs; the daemon can be killed and started again."""

    def __init__(self, folder: Path, names: Sequence[str], seed: int, mqtt: str, stack: ExitStack) -> None:
        (folder / "broker").mkdir()
        write_clock_bundle(folder)
        self._folder, self._mqtt = folder, mqtt
        lines = f"persistence true\npersistence_location {folder / 'broker'}/\nautosave_on_changes true\n"
        lines += "autosave_interval 1"
        self.broker: Broker = stack.enter_context(running_broker(folder / "broker", lines=lines))
        self.proxy = stack.enter_context(Proxy(self.broker.port, seed))
        self.cameras: Dict[str, Camera] = {name: Camera(name, stack, seed) for name in names}
        self.subscriber = stack.enter_context(Subscriber(self.broker.port, folder, f"{PREFIX}/#"))
        self._running = stack.enter_context(ExitStack())
        self.daemon: Daemon
        self.start_daemon()

    def config(self) -> str:
        """The daemon's settings, without the bundle's folder."""
        lines = [
            "node: chaos",
            f"mqtt: {{port: {self.proxy.port}, {self._mqtt}}}",
            "stats_interval_s: 1",
            f"camera_defaults: {{max_fps: {FPS}, frozen_after_s: {FROZEN_AFTER_S}}}",
            "cameras:",
            *(f"  {camera.name}: {{url: '{camera.url}'}}" for camera in self.cameras.values()),
        ]
        return "\n".join(lines)

    def start_daemon(self) -> None:
        """Start it; its log of before is kept beside."""
        log = self._folder / "daemon.log"
        if log.exists():
            log.rename(self._folder / f"daemon-{time.time():.3f}.log")
        self.daemon = self._running.enter_context(running_daemon(self._folder, self.config()))

    def kill_daemon(self) -> None:
        """Kill -9."""
        self.daemon.process.kill()
        self._running.close()

    def signal_decoder(self, camera: str, number: signal.Signals) -> None:
        """To the process that reads *camera*."""
        (decoder,) = [one for one in family(self.daemon.process.pid) if name_of(one) == camera[:15]]
        os.kill(decoder, number)

    def seen(self, camera: str, since: float = 0.0) -> List[Seen]:
        """Its detections that came at *since* (Unix seconds) or later."""
        topic = f"{PREFIX}/{camera}/detections"
        messages = [message for message in self.subscriber.since(since) if message.topic == topic]
        decoded = [msgspec.json.decode(message.payload, type=DetectionsMessage) for message in messages]
        return [Seen(came.received_at, said.captured_at, age_s(said)) for came, said in zip(messages, decoded)]

    def events(self) -> List[Dict[str, Any]]:
        """Those that came, as they came."""
        messages = [one for one in self.subscriber.messages if one.topic.endswith("/events")]
        return [msgspec.json.decode(one.payload) for one in messages]

    def missing_events(self) -> int:
        """Numbers left out between the first and the last that came; what a kill kept from the disk has none."""
        numbers = {event["seq"] for event in self.events()}
        return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0

    def stats(self) -> Dict[str, Any]:
        """What the daemon said of itself last."""
        return dict(msgspec.json.decode(self.subscriber.newest(f"{PREFIX}/stats")))

    def rate(self, cameras: Sequence[str], begin: float, end: float) -> float:
        """Their detections a second, by when the pictures were taken; never 0, for ratios."""
        taken = sum(begin <= one.captured_at < end for name in cameras for one in self.seen(name, begin))
        return max(1, taken) / (end - begin)

    def noticed_s(self, camera: str, began: float) -> float:
        """How long after *began* its status was another than online; -1: it was not."""
        topic = f"{PREFIX}/{camera}/status"
        said = [one for one in self.subscriber.since(began) if one.topic == topic and one.payload != b"online"]
        return said[0].received_at - began if said else -1.0

    def said(self, camera: str, began: float) -> str:
        """What its status was since then, but for online: "frozen" or "frozen/offline"."""
        topic = f"{PREFIX}/{camera}/status"
        words = [one.payload.decode() for one in self.subscriber.since(began) if one.topic == topic]
        return "/".join(word for word in dict.fromkeys(words) if word != "online")

    def fresh_after(self, camera: str, moment: float) -> float:
        """Wait for a picture of *camera* that was made after *moment* to be reported; seconds from *moment* on."""

        def fresh() -> List[Seen]:
            return [
                one
                for one in self.seen(camera, moment)
                if one.captured_at - one.age_s >= moment and one.age_s < STALE_S
            ]

        self.subscriber.wait_until(lambda _: bool(fresh()), PATIENCE_S)
        return fresh()[0].received_at - moment

    def all_fresh_after(self, moment: float) -> float:
        """The same of all cameras, the slowest."""
        return max(self.fresh_after(name, moment) for name in self.cameras)


@contextmanager
def running_rig(folder: Path, names: Sequence[str], *, seed: int = 0, mqtt: str = "keepalive_s: 10") -> Iterator[Rig]:
    """Cameras of these *names*, all of them online and seen; *mqtt* are keys of that section of the settings."""
    with ExitStack() as stack:
        rig = Rig(folder, names, seed, mqtt, stack)
        rig.all_fresh_after(time.time())
        yield rig
