"""The guide, and the installed service under a real systemd: tests/parts/systemd_scenario.py says what must hold."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.parts.blobs import LABELS, blob_detector, write_blob_clip
from tests.parts.daemon import write_quadrant_bundle
from tests.parts.hanging import let_engine_hang
from tests.parts.requires import require
from tests.parts.systemd import boot, skip_unless_bootable
from tests.parts.wheels import copy_of_the_checkout, wheels_for_the_system_python

SCENARIO = Path(__file__).parents[1] / "parts" / "systemd_scenario.py"


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.timeout(900)
def test_the_guide_works_and_the_service_lives_as_systemd_expects(tmp_path: Path) -> None:
    skip_unless_bootable()
    for part in ("mosquitto", "gst-rtsp-server", "gstreamer"):
        require(part)
    copy_of_the_checkout(tmp_path / "src")
    wheels_for_the_system_python(tmp_path / "src", tmp_path / "wheels")
    blob_detector(tmp_path / "blobs.onnx")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    write_blob_clip(tmp_path / "blobs.avi", count=200)
    (tmp_path / "hang").mkdir()
    let_engine_hang(write_quadrant_bundle(tmp_path / "hang"))
    shutil.copy(SCENARIO.with_name("rtsp_server.py"), tmp_path)
    subprocess.run(["chmod", "-R", "a+rX", str(tmp_path)], check=True)
    log = boot(SCENARIO, tmp_path, deadline_s=600)
    assert log.rstrip().endswith("PASS"), log
