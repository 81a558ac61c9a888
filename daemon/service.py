"""The service: starts the threads in order, watches over them, and stops them in the reverse order.

    camera × N ──▶ FrameSlots ──▶ inference ──▶ HandOver ──▶ analysis ──▶ Outbox ──▶ publisher
                                                                └────▶ collector ──▶ calibration set

A camera retries for ever, a broker may be away for ever and the collector may fail; any other failure stops the
service, and its supervisor (systemd) starts it again.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
import uuid
from contextlib import ExitStack
from typing import Callable, Dict, List, Mapping

import cv2

from sightd.engines import Engine
from sightd.errors import SightdError
from sightd.manifest import Manifest
from sightd.serving import Serving
from sightd.settings import OutboxSettings, Settings
from sightd.types import Detections

from .batches import Inferred
from .broker import broker_options
from .cameras import Cameras
from .classifiers import Classifier, Classifiers
from .collector import Collector
from .commands import Commands
from .counters import Counters
from .hand_over import HandOver
from .http import Endpoint, Health
from .lanes import Lane
from .memory import MemoryGauge
from .messages import ConfigMessage, encode
from .models import Models
from .notify import Notifier
from .outbox import Message, Outbox
from .outbox.disk import DiskOptions
from .outbox.spool import EventSpool
from .pipeline import analyse, infer
from .plan import Plan, plan_for
from .progress import Progress
from .publisher import Publisher
from .reload import reread
from .reports import Reporter
from .shedding import reduced
from .slots import FrameSlots
from .stats import StatsReader, sentence
from .supervisor import Supervisor
from .threads import StageThread, join_all, recorded
from .topics import Topics

__all__ = ["Service"]

_log = logging.getLogger(__name__)

#: How often the main thread looks whether a signal came, in seconds.
_TICK_S = 0.1
#: While the engine loads and warms up, systemd is asked for so much more time again and again, in seconds.
_EXTENSION_S = 30.0
#: What takes longer hangs: the largest engines load in two or three minutes on the slowest boards.
_WARM_UP_S = 900.0
#: How long each stage may take to finish its work when the service stops, in seconds. A camera that is just
#: being opened may take longer; it holds nothing that anybody waits for, so it is left behind.
_CAMERAS_S, _INFERENCE_S, _ANALYSIS_S, _COLLECTOR_S, _PUBLISHER_S, _OUTBOX_S = 1.0, 5.0, 2.0, 2.0, 3.0, 3.0
_HTTP_S = 1.0
#: The process ends after so long whatever still hangs, in seconds: before systemd's TimeoutStopSec=, and saying where.
_SHUTDOWN_S = 18.0


class Service:
    """Everything that runs between :meth:`run` and a call of :meth:`stop`."""

    def __init__(
        self,
        settings: Settings,
        manifests: Mapping[str, Manifest],
        open_serving: Callable[[str], Serving],
        load_settings: Callable[[], Settings],
    ) -> None:
        """Check that the settings fit the models; nothing runs yet.

        :param manifests: of ``settings.bundles``. What serves may be earlier versions of them, with the same labels.
        :param open_serving: opens what serves one of them; called on the inference thread.
        :param load_settings: reads the settings anew, for :meth:`reload`.
        :raises ConfigError: they do not fit.
        """
        self._settings, self._load_settings = settings, load_settings
        self._models = Models(manifests, open_serving)
        #: What the settings ask for, and what of it runs: less what commands switched off, and when memory is short.
        self._asked = self._plan = plan_for(settings, manifests)
        self._topics = Topics(settings.topic_prefix)
        self._boot_id = uuid.uuid4().hex[:8]
        self._slots = FrameSlots()
        self._results = HandOver()
        self._outbox = Outbox(events=_spool(settings.outbox))
        #: May be read from any thread.
        self.counters = Counters()
        self._commands = Commands(self._topics, self._outbox, self._configured, listen=settings.mqtt.commands)
        self._publisher = Publisher(broker_options(settings), self._topics, self._outbox, self._commands.inbox)
        self._inferring = {bundle: Progress() for bundle in self._models.detectors}
        self._progress = {
            **{f"inference of {bundle}": progress for bundle, progress in self._inferring.items()},
            "analysis": Progress(),
            "publisher": self._publisher.progress,
        }
        self._collector = Collector(lambda: self._plan)
        self._systemd = Notifier(os.environ)
        gauge = MemoryGauge(settings.memory_limit_mb << 20)
        self._supervisor = Supervisor(self._systemd, self._progress, gauge, self._on_failure)
        self._stats = StatsReader(
            self.counters,
            self._slots.dropped,
            self._outbox,
            self._publisher,
            self._commands,
            self._collector.stats,
            self._models.detectors,
            lambda: self._settings.classifiers,
            self._boot_id,
            self._supervisor.memory,
            self._supervisor.clock,
        )
        self._asked_to_stop = self._asked_to_reload = False
        self._stop = threading.Event()
        self._hang_up = threading.Event()
        self._ready, self._may_start = threading.Event(), threading.Event()
        self._failed: List[str] = []
        self._cameras = Cameras(
            self._slots, self._outbox, self._topics, self.counters, self._may_start, self._on_failure
        )
        self._counted_at = 0.0
        health = Health(
            started=self._ready.is_set,
            stopping=self._stop.is_set,
            stuck=self._supervisor.stuck,
            broker=lambda: self._publisher.state,
            cameras=self.counters.states,
        )
        self._endpoint = Endpoint(settings.http, health)

    def run(self) -> None:
        """Serve until :meth:`stop` is called; returns when everything is down.

        :raises SightdError: a stage failed; its exception is in the log.
        """
        # The cameras' and the engine's own threads fill the cores; OpenCV's pool would only contend with them.
        cv2.setNumThreads(1)
        publisher = StageThread("publisher", self._publish, self._on_failure)
        analysis = StageThread("analysis", self._analyse, self._on_failure)
        inference = StageThread("inference", self._infer, self._on_failure)
        collector = StageThread("collector", self._collect, lambda name: self._collector.fail())
        storing = StageThread("outbox", self._outbox.events.run, self._on_failure)
        self._endpoint.start()  # first, and closed last: a probe is to hear how the start and the end go
        for stage in (storing, publisher, collector, analysis, inference):
            stage.start()
        self._say(ConfigMessage(at=round(time.time(), 3), result="started"))
        self._cameras.apply(self._plan.cameras)  # they open when the engine is ready
        self._commands.say()

        self._warm_up()
        self._supervise()

        self._systemd.stopping()
        faulthandler.dump_traceback_later(_SHUTDOWN_S, exit=True)
        try:
            self._shut_down(inference, analysis, collector, publisher, storing)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if self._failed:
            raise SightdError(f"{' and '.join(self._failed)} failed, see the log above")

    def _shut_down(
        self,
        inference: StageThread,
        analysis: StageThread,
        collector: StageThread,
        publisher: StageThread,
        storing: StageThread,
    ) -> None:
        """Stop in the reverse order of the start. What does not end is left behind, and fails if it holds work."""
        self._cameras.dismiss()
        self._slots.close()
        self._cameras.join(_CAMERAS_S)
        hanging = join_all([inference], _INFERENCE_S) if self._ready.is_set() else []  # what loads holds no work
        self._results.put(None)  # where the inference hangs, it does not say so
        hanging += join_all([analysis], _ANALYSIS_S)
        self._hang_up.set()
        join_all([collector], _COLLECTOR_S)
        left_behind = join_all([publisher], _PUBLISHER_S)
        hanging += left_behind if self._publisher.progress.held_s() else []  # while it connects it holds no work
        self._outbox.events.finish()
        hanging += join_all([storing], _OUTBOX_S)
        self._failed += [name for name in hanging if name not in self._failed]
        if not (storing.is_alive() or publisher.is_alive()):  # else SQLite would be closed under them
            self._outbox.close()
        self._endpoint.close(_HTTP_S)

    def stop(self) -> None:
        """Ask :meth:`run` to end; safe in a signal handler, which must not take the lock that its thread may hold."""
        self._asked_to_stop = True

    def reload(self) -> None:
        """Ask for the settings to be read again; as safe."""
        self._asked_to_reload = True

    def _is_over(self) -> bool:
        if self._asked_to_stop:
            self._stop.set()
        return self._stop.is_set()

    def _warm_up(self) -> None:
        """Wait for the engines; large ones take minutes to load."""
        began_at, asked_at = time.monotonic(), 0.0
        while not self._ready.wait(_TICK_S) and not self._is_over():
            if time.monotonic() > began_at + _WARM_UP_S:
                _log.error("no model was ready after %.0f s: what loads it hangs; ask: sightd doctor", _WARM_UP_S)
                self._on_failure("inference")
            elif time.monotonic() > asked_at + _EXTENSION_S / 3:
                asked_at = time.monotonic()
                self._systemd.starting(_EXTENSION_S)
        if not self._is_over():
            self._say_what_runs()  # before the first detection, whose reader wants to know
            self._may_start.set()
            self._systemd.ready()

    def _supervise(self) -> None:
        """The main thread's work until it is time to stop."""
        while not self._is_over():
            if self._asked_to_reload:
                self._asked_to_reload = False
                self._reload()
            commanded = self._commands.obey(time.monotonic())
            if self._supervisor.look(self._commands.applied(self._asked)) or commanded:
                self._apply(self._asked)
            if time.monotonic() >= self._counted_at + self._settings.stats_interval_s:
                self._counted_at = time.monotonic()
                stats = self._stats.read()
                self._endpoint.tell(stats)
                self._outbox.put(Message(self._topics.stats, encode(stats)))
                self._systemd.status(sentence(stats, self._models.fallback_reason))
            self._cameras.watch()
            self._stop.wait(_TICK_S)

    def _reload(self) -> None:
        """Apply the settings file as far as a running service can; whatever is wrong with it, keep what runs."""
        self._systemd.reloading()
        running = (self._settings, self._asked)
        self._settings, plan, told = reread(running, self._load_settings, self._models.manifests)
        if told.result != "refused":
            self._collector.pass_over(told.changed)
            logging.getLogger().setLevel(self._settings.log_level.upper())
            self._apply(plan)
            waiting = ", ".join(told.restart_needed)
            _log.info("settings: %s%s", told.result, f"; a restart is needed for {waiting}" if waiting else "")
        self._say(told)
        self._systemd.ready()

    def _apply(self, asked: Plan) -> None:
        """Run what is *asked* for, less what commands have switched off, as far as the memory allows."""
        self._asked, self._plan = asked, reduced(self._commands.applied(asked), self._supervisor.level)
        self._cameras.apply(self._plan.cameras)
        self._say_what_runs()
        self._commands.say()

    def _configured(self) -> Dict[str, bool]:
        """Every camera and whether the settings enable it."""
        return {name: camera.enabled for name, camera in self._settings.cameras.items()}

    def _publish(self) -> None:
        self._publisher.run(self._hang_up)
        if not self._failed:  # else the broker publishes the will: we did not stop, we broke
            self._publisher.close()

    def _analyse(self) -> None:
        labels = {bundle: manifest.labels for bundle, manifest in self._models.manifests.items()}
        reporter = Reporter(lambda: self._plan, labels, self._topics, self._outbox, self.counters, self._boot_id)

        def sink(inferred: Inferred, found: List[Detections]) -> None:
            reporter(inferred, found)
            self._collector.consider(inferred, found)

        try:
            analyse(self._results, lambda: self._plan, sink, self._progress["analysis"], reporter.look_round)
            reporter.close()
        finally:
            self._results.abandon()

    def _collect(self) -> None:
        self._collector.run(self._hang_up)

    def _infer(self) -> None:
        with ExitStack() as closing:
            try:
                # Recorded before the engines are closed: one that hangs in it must not hide what failed.
                with recorded("inference", self._on_failure):
                    self._run_engines(self._models.open(closing))
            finally:
                self._results.put(None)  # nothing follows, whatever happened

    def _run_engines(self, engines: Mapping[str, Engine]) -> None:
        manifests = self._models.manifests
        loaded = {name: Classifier(engines[name], manifests[name].labels) for name in self._models.classifiers}
        classifiers = Classifiers(loaded, self.counters)
        lanes = [Lane(name, engines[name], classifiers, own) for name, own in self._inferring.items()]
        # Nobody reads it before it is ready: no frame comes, and no reload is begun.
        self._asked = self._plan = plan_for(self._settings, manifests)
        self._ready.set()
        infer(self._slots, lanes, lambda: self._plan, self._results, self._stop.is_set)

    def _say_what_runs(self) -> None:
        info = self._models.info(self._settings, self._plan)
        for model in [*info.models, *info.classifiers.values()]:
            what = f"{model.model} as {model.engine.precision} on {model.engine.kind}"
            _log.info("sightd %s: %s, %s", info.version, what, model.bundle)
        self._outbox.put(Message(self._topics.info, encode(info), retain=True))

    def _say(self, config: ConfigMessage) -> None:
        self._outbox.put(Message(self._topics.config, encode(config), retain=True))

    def _on_failure(self, name: str) -> None:
        self._failed.append(name)
        self._stop.set()


def _spool(settings: OutboxSettings) -> EventSpool:
    disk = DiskOptions(settings.folder, settings.max_events, settings.max_mb << 20, settings.max_age_days * 24 * 3600.0)
    return EventSpool(disk, settings.replay_s)
