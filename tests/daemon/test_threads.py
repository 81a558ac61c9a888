from __future__ import annotations

import logging
import threading
import time
from typing import List

import pytest

from daemon.threads import StageThread, join_all
from sightd.errors import EngineError


def run(error: Exception, caplog: pytest.LogCaptureFixture) -> List[str]:
    failures: List[str] = []

    def work() -> None:
        raise error

    with caplog.at_level(logging.ERROR):
        thread = StageThread("inference", work, failures.append)
        thread.start()
        thread.join(5)
    return failures


def test_an_error_of_ours_is_logged_as_its_sentence_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert run(EngineError("convert the model again"), caplog) == ["inference"]
    assert "inference failed: convert the model again" in caplog.text
    assert "Traceback" not in caplog.text


def test_any_other_exception_is_logged_with_its_traceback_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert run(ZeroDivisionError("oops"), caplog) == ["inference"]
    assert "Traceback" in caplog.text


def test_joining_has_one_deadline_for_all_and_names_who_hangs(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    hanging = [StageThread(f"camera-{i}", lambda: release.wait(10) and None, lambda name: None) for i in range(30)]
    for thread in hanging:
        thread.start()
    began = time.monotonic()
    join_all([*hanging, StageThread("never-started", lambda: None, lambda name: None)], 0.2)
    assert time.monotonic() - began < 3, "6 s with a deadline for each"
    assert "camera-0, camera-1, camera-2" in caplog.text
    release.set()
    join_all(hanging, 5)
    assert not any(thread.is_alive() for thread in hanging)
