from __future__ import annotations

import logging

import pytest

from sightd.logs import configure_logging

CANARY = "hunter2canary"


pytestmark = pytest.mark.usefixtures("logging_as_before")


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
