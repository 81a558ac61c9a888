"""The service: starts the threads in order, watches over them, and stops them in the reverse order.

    camera × N ──▶ FrameSlots ──▶ inference ──▶ Queue(2) ──▶ analysis ──▶ Outbox ──▶ publisher

A camera retries for ever and a broker may be away for ever; any other failure stops the service, and its
supervisor (systemd) starts it again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from functools import partial
from typing import Callable, Dict, List, Optional

import cv2
import numpy as np

from sightd import __version__
from sightd.bundle import Manifest
from sightd.engines import Engine
from sightd.errors import ConfigError, SightdError
from sightd.settings import Settings

from .cameras import Camera
from .counters import Counters
from .messages import CAMERA_DISABLED, CAMERA_OFFLINE, EngineInfo, InfoMessage, encode
from .outbox import Message, Outbox
from .pipeline import Inferred, analyse, infer
from .publisher import BrokerOptions, Publisher
from .reports import Reporter, Rule, class_indices
from .slots import FrameSlots
from .stats import StatsReader
from .threads import StageThread, join_all
from .topics import Topics

__all__ = ["Service"]

_log = logging.getLogger(__name__)

#: How often the main thread looks whether a signal came, in seconds.
_TICK_S = 0.1
#: How long each stage may take to finish its work when the service stops, in seconds. A camera that is just
#: being opened may take longer; it holds nothing that anybody waits for, so it is left behind.
_CAMERAS_S, _INFERENCE_S, _ANALYSIS_S, _PUBLISHER_S = 1.0, 5.0, 2.0, 3.0


class Service:
    """Everything that runs between :meth:`run` and a call of :meth:`stop`."""

    def __init__(self, settings: Settings, manifest: Manifest, open_engine: Callable[[], Engine]) -> None:
        """Check that the settings fit the model; nothing runs yet.

        :param open_engine: called on the inference thread.
        :raises ConfigError: they do not fit.
        """
        self._settings, self._manifest, self._open_engine = settings, manifest, open_engine
        self._rules = _rules(settings, manifest.labels, manifest.output.min_score)
        self._topics = Topics(settings.topic_prefix)
        self._boot_id = uuid.uuid4().hex[:8]
        self._slots = FrameSlots()
        self._results: queue.Queue[Optional[Inferred]] = queue.Queue(2)
        self._outbox = Outbox()
        #: May be read from any thread.
        self.counters = Counters(settings.cameras)
        self._publisher = Publisher(_broker_options(settings), self._topics, self._outbox)
        self._cameras = [
            Camera(name, camera, self._slots, self._outbox, self._topics, self.counters)
            for name, camera in settings.cameras.items()
        ]
        self._asked_to_stop = False
        self._stop = threading.Event()
        self._hang_up = threading.Event()
        self._ready = threading.Event()
        self._failed: List[str] = []

    def run(self) -> None:
        """Serve until :meth:`stop` is called; returns when everything is down.

        :raises SightdError: a stage failed; its exception is in the log.
        """
        # The cameras' and the engine's own threads fill the cores; OpenCV's pool would only contend with them.
        cv2.setNumThreads(1)
        publisher = self._thread("publisher", self._publish)
        analysis = self._thread("analysis", self._analyse)
        inference = self._thread("inference", self._infer)
        cameras = [
            self._thread(f"camera-{camera.name}", partial(camera.run, self._stop))
            for camera in self._cameras
            if camera.name in self._rules
        ]
        self._say_what_runs()
        for stage in (publisher, analysis, inference):
            stage.start()
        while not self._ready.wait(_TICK_S) and not self._is_over():
            pass  # a large engine takes its time to load and to warm up
        for camera in cameras:
            camera.start()

        self._supervise()

        self._slots.close()
        join_all(cameras, _CAMERAS_S)
        join_all([inference], _INFERENCE_S)
        join_all([analysis], _ANALYSIS_S)
        self._hang_up.set()
        join_all([publisher], _PUBLISHER_S)
        self._outbox.close()
        if self._failed:
            raise SightdError(f"{' and '.join(self._failed)} failed, see the log above")

    def stop(self) -> None:
        """Ask :meth:`run` to end; safe in a signal handler, which must not take the lock that its thread may hold."""
        self._asked_to_stop = True

    def _is_over(self) -> bool:
        if self._asked_to_stop:
            self._stop.set()
        return self._stop.is_set()

    def _supervise(self) -> None:
        """The main thread's work: a stats message every few seconds until it is time to stop."""
        stats = StatsReader(self.counters, self._slots.dropped, self._outbox, self._publisher, self._boot_id)
        due_at = time.monotonic()
        while not self._is_over():
            self._stop.wait(_TICK_S)
            if time.monotonic() >= due_at + self._settings.stats_interval_s:
                due_at = time.monotonic()
                self._outbox.put(Message(self._topics.stats, encode(stats.read())))

    def _publish(self) -> None:
        self._publisher.run(self._hang_up)
        if not self._failed:  # else the broker publishes the will: we did not stop, we broke
            self._publisher.close()

    def _analyse(self) -> None:
        manifest = self._manifest
        reporter = Reporter(self._rules, manifest.labels, self._topics, self._outbox, self.counters, self._boot_id)
        lowest = min(rule.min_score for rule in self._rules.values())
        iou = self._settings.nms_iou or manifest.output.nms_iou
        analyse(self._results, lowest, iou, self._settings.max_objects, reporter)

    def _infer(self) -> None:
        started = time.monotonic()
        try:
            with self._open_engine() as engine:
                engine.warm_up(np.zeros((720, 1280, 3), np.uint8))
                _log.info(
                    "engine ready after %.1f s, batches of up to %d", time.monotonic() - started, engine.max_batch
                )
                self._ready.set()
                infer(self._slots, engine, self._results, self._stop.is_set)
        finally:
            self._results.put(None)  # nothing follows, whatever happened

    def _say_what_runs(self) -> None:
        manifest, settings = self._manifest, self._settings
        engine = EngineInfo(manifest.engine.kind, manifest.engine.precision, manifest.engine.sha256)
        info = InfoMessage(
            version=__version__,
            node=settings.node_name,
            model=manifest.model.name,
            engine=engine,
            labels=manifest.labels,
            cameras=list(settings.cameras),
        )
        _log.info("sightd %s: %s as %s on %s", __version__, info.model, engine.precision, engine.kind)
        self._outbox.put(Message(self._topics.info, encode(info), retain=True))
        for camera in self._cameras:
            camera.say((CAMERA_OFFLINE if camera.name in self._rules else CAMERA_DISABLED).decode())

    def _thread(self, name: str, target: Callable[[], None]) -> StageThread:
        return StageThread(name, target, self._on_failure)

    def _on_failure(self, name: str) -> None:
        self._failed.append(name)
        self._stop.set()


def _rules(settings: Settings, labels: List[str], min_score: float) -> Dict[str, Rule]:
    """What each enabled camera reports."""
    rules = {
        name: Rule(
            min_score=min_score if camera.min_score is None else camera.min_score,
            classes=class_indices(camera.labels, labels, name),
        )
        for name, camera in settings.cameras.items()
        if camera.enabled
    }
    if not rules:
        raise ConfigError("every camera is disabled: set enabled: true for one at least")
    return rules


def _broker_options(settings: Settings) -> BrokerOptions:
    mqtt = settings.mqtt
    return BrokerOptions(
        host=mqtt.host,
        port=mqtt.port,
        username=mqtt.username or "",
        password=mqtt.read_password() or "",
        client_id=settings.client_id,
        keepalive_s=mqtt.keepalive_s,
    )
