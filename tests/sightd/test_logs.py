from __future__ import annotations

import logging
import subprocess
import sys

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


UNCAUGHT = """
import sys, threading, warnings
from sightd.logs import configure_logging, log_the_uncaught
configure_logging("info")
log_the_uncaught()
url = "rtsp://u:hunter2canary@h/"
def fail(): raise OSError(url)
thread = threading.Thread(target=fail, name="of another library"); thread.start(); thread.join()
class Dying:
    def __del__(self): raise OSError(url)
del [Dying()][0]
warnings.warn(f"deprecated: {url}")
fail()
"""


def test_what_nobody_catches_is_logged_without_its_password() -> None:
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "of another library: uncaught: OSError" in done.stderr
    assert done.stderr.count("OSError: rtsp://u:***@h/") == 3
    assert "deprecated: rtsp://u:***@h/" in done.stderr
    assert CANARY not in done.stdout + done.stderr
