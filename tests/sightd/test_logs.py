from __future__ import annotations

import logging
from typing import Iterator

import pytest

from sightd.logs import configure_logging

CANARY = "hunter2canary"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def test_a_log_line_names_its_thread_and_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    log = logging.getLogger("sightd.test")
    log.info("not shown")
    try:
        raise OSError(f"rtsp://u:{CANARY}@h/")
    except OSError:
        log.exception("lost %s", f"rtsp://u:{CANARY}@h/x")
    error = capsys.readouterr().err
    assert "ERROR   MainThread: lost rtsp://u:***@h/x" in error
    assert "Traceback" in error
    assert "not shown" not in error
    assert CANARY not in error
