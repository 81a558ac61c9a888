"""The cameras that run, by themselves; tests/daemon/test_reload.py and test_service.py see them in the service."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Callable, List, Optional

import numpy as np
import pytest

from daemon import cameras as module
from daemon.cameras import Cameras
from daemon.counters import Counters
from daemon.outbox import Outbox
from daemon.plan import CameraPlan
from daemon.slots import FrameSlots
from daemon.topics import Topics
from sightd.errors import SourceError
from sightd.sources import Source
from sightd.types import Image


class Sluggish(Source):
    """Is being opened until *answer* is set, and then turns out to be away."""

    live = True

    def __init__(self, answer: threading.Event) -> None:
        self._answer = answer

    def open(self) -> None:
        self._answer.wait()
        raise SourceError("away")

    def grab(self) -> bool:
        raise AssertionError("not open")

    def retrieve(self, into: Optional[Image] = None) -> Image:
        raise AssertionError("not open")

    def close(self) -> None:
        pass


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "between", [{}, {"a": None}, {"a": CameraPlan("other", decoding="thread")}], ids=["gone", "disabled", "changed"]
)
def test_a_camera_that_comes_back_is_opened_when_the_last_thread_has_let_go_of_it(
    between: dict[str, CameraPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: List[str] = []
    answer = threading.Event()

    def source_for(address: str, **_: object) -> Source:
        opened.append(address)
        return Sluggish(answer)

    monkeypatch.setattr(module, "source_for", source_for)
    may_start = threading.Event()
    may_start.set()
    outbox, topics = Outbox(), Topics("sightd/box")
    running = Cameras(FrameSlots(), outbox, topics, Counters(), may_start, pytest.fail)
    running.apply({"a": CameraPlan("same", decoding="thread")})
    wait_until(lambda: len(opened) == 1)
    running.apply(between)
    running.apply({"a": CameraPlan("same", decoding="thread")})
    time.sleep(0.2)
    assert opened == ["same"], "the first is still being opened"
    answer.set()
    wait_until(lambda: len(opened) >= 2 and opened[-1] == "same")
    running.dismiss()
    running.join(10)
    outbox.close()


class Stuck(Source):
    """Gives a picture, then does not come back from the next until *answer* is set."""

    live = True

    def __init__(self, answer: threading.Event) -> None:
        self._answer, self._grabbed = answer, 0

    def open(self) -> None:
        pass

    def grab(self) -> bool:
        self._grabbed += 1
        return self._grabbed == 1 or self._answer.wait(60)

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return np.zeros((48, 64, 3), np.uint8)

    def close(self) -> None:
        pass

    def patience_s(self) -> float:
        return 0.1


def test_a_camera_whose_picture_does_not_come_is_frozen_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, may_start, counters = threading.Event(), threading.Event(), Counters()
    monkeypatch.setattr(module, "source_for", lambda *_, **__: Stuck(answer))
    may_start.set()
    outbox = Outbox()
    running = Cameras(FrameSlots(), outbox, Topics("sightd/box"), counters, may_start, pytest.fail)

    def is_said(state: str) -> bool:
        running.watch()
        return counters.states["a"] == state

    running.apply({"a": CameraPlan("", decoding="thread")})
    wait_until(lambda: is_said("online"))
    assert counters.reasons["a"] == ""
    wait_until(lambda: is_said("frozen"))
    assert counters.reasons["a"] == "no picture for 0.1 s"
    answer.set()
    wait_until(lambda: is_said("online"))
    running.dismiss()
    running.join(10)
    outbox.close()


class Breaking(Stuck):
    """Gives one picture, then is lost, every time."""

    def __init__(self) -> None:
        super().__init__(threading.Event())

    def open(self) -> None:
        self._grabbed = 0

    def grab(self) -> bool:
        self._grabbed += 1
        if self._grabbed > 1:
            raise SourceError("lost")
        return True


def test_a_camera_that_comes_and_goes_fills_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("FIRST_RETRY_S", "LAST_RETRY_S"):
        monkeypatch.setattr(sys.modules["sightd.sources.frames"], name, 0.01)
    monkeypatch.setattr(module, "source_for", lambda *_, **__: Breaking())
    may_start, counters, outbox = threading.Event(), Counters(), Outbox()
    may_start.set()
    running = Cameras(FrameSlots(), outbox, Topics("sightd/box"), counters, may_start, pytest.fail)
    running.apply({"a": CameraPlan("", decoding="thread")})
    wait_until(lambda: counters.received["a"] >= 20)
    running.dismiss()
    running.join(10)
    outbox.close()
    assert caplog.text.count("camera a is offline: lost") == 3
    assert caplog.text.count("camera a is online") == 3
