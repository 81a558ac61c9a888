"""Logging to journald as far as it can be seen without one; test_systemd.py looks into a real journal."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from daemon.journal import fields_of, log_to_journal

CANARY = "hunter2canary"


pytestmark = pytest.mark.usefixtures("logging_as_before")


def record(level: int = logging.INFO, thread: str = "MainThread", **extra: str) -> logging.LogRecord:
    made = logging.LogRecord("daemon.x", level, __file__, 1, "text", (), None)
    made.threadName = thread
    made.__dict__.update(extra)
    return made


def test_the_stage_and_the_camera_are_those_of_the_thread() -> None:
    assert fields_of(record(thread="inference")) == {"PRIORITY": "6", "LOGGER": "daemon.x", "STAGE": "inference"}
    camera = fields_of(record(thread="camera-back-yard"))
    assert (camera["STAGE"], camera["CAMERA"]) == ("camera", "back-yard")


def test_a_camera_is_named_whichever_thread_speaks_of_it() -> None:
    fields = fields_of(record(camera="yard"))
    assert (fields["STAGE"], fields["CAMERA"]) == ("main", "yard")


def test_an_event_is_named_by_its_id() -> None:
    assert fields_of(record(camera="yard", event="b00t-7"))["EVENT"] == "b00t-7"
    assert "EVENT" not in fields_of(record())


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3"), (logging.CRITICAL, "3")],
)
def test_levels_become_syslogs_priorities(level: int, priority: str) -> None:
    assert fields_of(record(level))["PRIORITY"] == priority


def test_a_terminal_is_not_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    before = logging.getLogger().handlers[:]
    log_to_journal("info")
    assert logging.getLogger().handlers == before


def test_without_systemd_python_each_line_has_its_priority_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "systemd", None)
    with (tmp_path / "log").open("w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        stat = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
        log_to_journal("info")
        speaker = threading.Thread(target=_lose_a_camera, name="camera-yard")
        speaker.start()
        speaker.join()
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[0] == "<3>camera-yard: lost rtsp://u:***@h/"
    assert len(lines) > 3  # the traceback
    assert all(line.startswith("<3>") for line in lines)
    assert CANARY not in "".join(lines)


def _lose_a_camera() -> None:
    try:
        raise OSError(f"rtsp://u:{CANARY}@h/")
    except OSError:
        logging.getLogger("daemon.cameras").exception("lost %s", f"rtsp://u:{CANARY}@h/")
