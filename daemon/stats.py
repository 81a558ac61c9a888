"""The stats message: the counters of all stages, put together every few seconds."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Callable, Iterable, Mapping, Sequence

from .commands import Commands
from .counters import Counters
from .messages import (
    CAMERA_DISABLED,
    CAMERA_ONLINE,
    CalibrationStats,
    CameraStats,
    ClassifierStats,
    ClockStats,
    CommandStats,
    EngineStats,
    MemoryStats,
    OutboxStats,
    PublisherStats,
    QueueStats,
    StatsMessage,
)
from .outbox import Outbox
from .publisher import Publisher

__all__ = ["StatsReader", "sentence"]


class StatsReader:
    """Makes one :class:`StatsMessage` after another; rates are those since the last one. One thread.

    :param models: folders of the detectors' bundles.
    :param classifiers: gives the names of those that are configured now.
    """

    def __init__(
        self,
        counters: Counters,
        dropped: Mapping[str, int],
        outbox: Outbox,
        publisher: Publisher,
        commands: Commands,
        calibration: Callable[[], CalibrationStats],
        models: Sequence[str],
        classifiers: Callable[[], Iterable[str]],
        boot_id: str,
        memory: Callable[[], MemoryStats],
        clock: Callable[[], ClockStats],
    ) -> None:
        self._counters, self._dropped = counters, dropped
        self._outbox, self._publisher, self._boot_id = outbox, publisher, boot_id
        self._commands = commands
        self._calibration, self._models, self._classifiers = calibration, models, classifiers
        self._memory, self._clock = memory, clock
        self._started_at = self._last_at = time.monotonic()
        self._last_received: Counter[str] = Counter()

    def read(self) -> StatsMessage:
        """How everything stands now."""
        now = time.monotonic()
        seconds, self._last_at = max(now - self._last_at, 1e-3), now
        return StatsMessage(
            uptime_s=round(now - self._started_at, 1),
            boot_id=self._boot_id,
            cameras={name: self._camera(name, seconds) for name in self._counters.states},
            engine=self._engine(self._models),
            models={bundle: self._engine([bundle]) for bundle in self._models},
            classifiers={name: self._classifier(name) for name in self._classifiers()},
            queue=QueueStats(depth=len(self._outbox), dropped=self._outbox.dropped),
            outbox=OutboxStats(**vars(self._outbox.events.stats())),
            publisher=self._connection(),
            commands=CommandStats(accepted=self._commands.accepted, refused=dict(self._commands.refused)),
            calibration=self._calibration(),
            rss_mb=_rss_mb(),
            memory=self._memory(),
            clock=self._clock(),
        )

    def _connection(self) -> PublisherStats:
        publisher = self._publisher
        return PublisherStats(
            connected=publisher.connected,
            broker=publisher.broker,
            state=publisher.state,
            state_s=round(publisher.state_s, 1),
            away_s=round(publisher.away_s, 1),
            published=publisher.published,
            dropped=publisher.dropped,
            connections=publisher.connections,
            refusals=dict(publisher.refusals),
            last_refusal=publisher.last_refusal,
            denied=publisher.denied,
            denials=dict(publisher.denials),
            last_denial=publisher.last_denial,
            denies=publisher.denies,
        )

    def _camera(self, name: str, seconds: float) -> CameraStats:
        received = self._counters.received[name]
        fps = (received - self._last_received[name]) / seconds
        self._last_received[name] = received
        return CameraStats(
            state=self._counters.states[name],
            fps=round(fps, 2),
            received=received,
            dropped=self._dropped.get(name, 0),
            inferred=self._counters.inferred[name],
            reason=self._counters.reasons.get(name, ""),
        )

    def _engine(self, bundles: Sequence[str]) -> EngineStats:
        """Of the models in *bundles* together."""
        counted = self._counters
        batches = sum(counted.batches[bundle] for bundle in bundles)
        frames = sum(counted.frames[bundle] for bundle in bundles)
        infer_s = sum(counted.infer_s.get(bundle, 0.0) for bundle in bundles)
        per_batch = 1 / max(1, batches)
        return EngineStats(
            batches=batches,
            mean_batch=round(frames * per_batch, 2),
            infer_ms=round(infer_s * 1000 * per_batch, 2),
            frames=frames,
            infer_s=round(infer_s, 3),
        )

    def _classifier(self, name: str) -> ClassifierStats:
        return ClassifierStats(crops=self._counters.crops[name], skipped=self._counters.skipped[name])


def sentence(stats: StatsMessage, fallback_reason: str = "") -> str:
    """*stats* in one line, for `systemctl status`; what is not as it should be comes first."""
    watched = {name: camera.state for name, camera in stats.cameras.items() if camera.state != CAMERA_DISABLED.decode()}
    away = [f"{name} {state}" for name, state in watched.items() if state != CAMERA_ONLINE.decode()]
    missing = f" ({', '.join(away)})" if away else ""
    rate = sum(camera.fps for camera in stats.cameras.values())
    reasons = fallback_reason.replace("\n", " | ")
    warning = f"NOT THE BUNDLE'S ENGINE: {reasons} | " if reasons else ""
    given_up = ", ".join(stats.memory.given_up)
    warning += f"SHORT OF MEMORY, without {given_up} | " if given_up else ""
    outbox = stats.outbox
    warning += f"EVENTS ARE NOT STORED: {outbox.trouble} ({outbox.unsaved} unsaved) | " if outbox.trouble else ""
    online = f"{len(watched) - len(away)} of {len(watched)} cameras online{missing}"
    return f"{warning}{online}, {rate:.1f} fps; {_connection(stats.publisher)}"


def _connection(publisher: PublisherStats) -> str:
    if publisher.connected:
        denies = f", denies: {publisher.denies}" if publisher.denies else ""
        return f"broker {publisher.broker} connected{denies}"
    why = f" ({publisher.state})" if publisher.state.startswith("refused") else ""
    return f"broker {publisher.broker} not connected for {publisher.state_s:.0f} s{why}"


def _rss_mb() -> float:
    """Resident memory of this process in megabytes; 0 where /proc is missing."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return 0.0
    resident = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return round(int(resident.split()[1]) / 1024, 1)
