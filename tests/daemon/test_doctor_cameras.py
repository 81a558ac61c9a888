"""What the doctor says of a camera that another program uses; tests/daemon/test_doctor.py has the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.doctor.cameras import check
from sightd.settings import CameraSettings
from tests.parts.bad_sources import crashing
from tests.parts.doctor import one

#: A character device that is no camera, and that nobody else holds.
DEVICE = "v4l2:///dev/full"


def test_a_device_that_the_service_uses_is_no_problem(tmp_path: Path) -> None:
    camera = CameraSettings(url=DEVICE)
    program = "import sys; held = open('/dev/full'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        used = one(check("yard", camera, tmp_path, tmp_path), "yard")
        holder.communicate()
    assert used.level == "note"
    assert f"(process {holder.pid}), so not opened" in used.says
    assert one(check("yard", camera, tmp_path, tmp_path), "yard").level == "problem"


def test_a_camera_whose_pictures_crash_what_reads_them_does_not_crash_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightd.sources.camera_source", crashing)
    found = one(check("yard", CameraSettings(url="rtsp://127.0.0.1/1"), tmp_path, tmp_path), "yard")
    assert found.level == "problem"
    assert "the decoder process crashed (SIGSEGV)" in found.says
