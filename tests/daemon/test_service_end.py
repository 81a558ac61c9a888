"""How the service ends when a part of it fails or hangs: promptly, with the reason in the log and a truthful code."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from daemon.service import Service
from daemon.threads import join_all
from sightd.errors import EngineError, SightdError
from sightd.serving import Serving
from sightd.settings import load_settings
from tests.parts.broker import Broker, collect
from tests.parts.clips import write_clip
from tests.parts.daemon import MANIFEST, running_daemon, write_quadrant_bundle
from tests.parts.hanging import let_engine_find_unknown_classes, let_engine_hang
from tests.parts.patient_engine import PatientEngine

CAMERA = "cameras: {yard: {url: yard.avi, pace: fast, max_fps: 0, min_score: 0.0}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_quadrant_bundle(tmp_path)
    write_clip(tmp_path / "yard.avi", count=25)
    return tmp_path


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hangs in a test hangs until its end."""
    event = threading.Event()
    yield event
    event.set()


def config(broker: Broker) -> str:
    return f"node: box\nmqtt: {{port: {broker.port}}}\n{CAMERA}"


def service(tmp_path: Path, cameras: str, open_serving: Callable[[str], Serving]) -> Service:
    path = tmp_path / "sightd.yaml"
    path.write_text(f"bundle: a\nmqtt: {{port: 1}}\noutbox: {{folder: outbox}}\ncameras: {cameras}\n")
    settings = load_settings(path)
    return Service(settings, dict.fromkeys(settings.bundles, MANIFEST), open_serving, lambda: settings)


def test_an_analysis_that_fails_ends_the_service_without_holding_the_inference_up(broker: Broker, folder: Path) -> None:
    let_engine_find_unknown_classes(folder / "bundle")
    with collect(broker) as seen, running_daemon(folder, config(broker)) as daemon:
        assert daemon.process.wait(60) == 1
        seen.wait_for("sightd/box/available", b"offline")
    assert "the engine finds class 10" in daemon.log
    assert "did not end" not in daemon.log
    assert "sightd: analysis failed, see the log above" in daemon.log


def test_an_engine_that_hangs_when_it_is_to_stop_is_left_behind_and_told(broker: Broker, folder: Path) -> None:
    let_engine_hang(folder / "bundle")
    with collect(broker) as seen, running_daemon(folder, config(broker)) as daemon:
        seen.wait_for("sightd/box/yard/status", b"online", 60)
        assert daemon.stop(30) == 1, "work was lost, that is no clean stop"
    assert "did not end in 5 s and is left behind: inference" in daemon.log


def test_a_name_server_that_does_not_answer_makes_no_stop_a_failure(
    tmp_path: Path, release: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The publisher waits for it, and holds no work meanwhile."""

    def resolve(*_: object, **__: object) -> None:
        running.stop()
        release.wait(60)
        raise OSError("no answer")

    running = service(tmp_path, "{yard: {url: none.avi}}", lambda folder: Serving(PatientEngine(), MANIFEST))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    running.run()
    assert "did not end in 3 s and is left behind: publisher" in caplog.text
    release.set()
    join_all([thread for thread in threading.enumerate() if thread.name == "publisher"], 10)
    running._outbox.close()


@pytest.mark.slow
def test_a_stage_that_hangs_ends_the_service_with_the_stack_of_every_thread(broker: Broker, folder: Path) -> None:
    """With or without a supervisor that has a watchdog."""
    let_engine_hang(folder / "bundle")
    with collect(broker) as seen, running_daemon(folder, config(broker)) as daemon:
        assert daemon.process.wait(60) == 1
        seen.wait_for("sightd/box/available", b"offline")
    assert f"no progress for 10 s in: inference of {folder / 'bundle'}; ending, to be started anew" in daemon.log
    assert "Current thread" in daemon.log
    assert daemon.log.count("no progress for") == 1


def test_a_start_that_hangs_ends_with_a_sentence(
    tmp_path: Path, release: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("daemon.service._WARM_UP_S", 0.3)

    def open_serving(folder: str) -> Serving:
        release.wait(60)
        raise EngineError("too late")

    began = time.monotonic()
    with pytest.raises(SightdError, match="inference failed"):
        service(tmp_path, "{yard: {url: none.avi}}", open_serving).run()
    assert time.monotonic() - began < 30
    assert "what loads it hangs" in caplog.text


class Stubborn(PatientEngine):
    """Does not come back from close()."""

    def __init__(self, release: threading.Event) -> None:
        super().__init__()
        self._release = release

    def close(self) -> None:
        self._release.wait(60)


def test_what_failed_is_told_even_where_another_engine_hangs_in_closing(
    tmp_path: Path, release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def open_serving(folder: str) -> Serving:
        if folder.endswith("b"):
            raise EngineError("the second does not load")
        return Serving(Stubborn(release), MANIFEST)

    with pytest.raises(SightdError, match="inference failed"):
        service(tmp_path, "{yard: {url: none.avi}, gate: {url: none.avi, bundle: b}}", open_serving).run()
    assert "inference failed: the second does not load" in caplog.text


@pytest.mark.slow
def test_what_hangs_beyond_every_deadline_ends_with_the_stack_of_every_thread(
    broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one in the shutdown is made to hang by a module that Python imports at its start."""
    (folder / "sitecustomize.py").write_text(
        "import os, time\n"
        "def hang(self):\n    time.sleep(600)\n"
        "def install():\n    from daemon.outbox import Outbox\n    Outbox.close = hang\n"
        "import threading; threading.Timer(2.0, install).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with collect(broker) as seen, running_daemon(folder, config(broker)) as daemon:
        seen.wait_for("sightd/box/yard/status", b"online", 60)
        time.sleep(3)
        assert daemon.stop(40) == 1
    assert "Timeout (0:00:18)!" in daemon.log
    assert "in hang" in daemon.log
