"""The doctor's checks of cameras and broker, on real ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np
import pytest

from daemon.doctor import broker, cameras
from daemon.doctor.finding import Finding
from sightd.bundle import open_bundle
from sightd.errors import SourceError
from sightd.settings import parse_settings
from tests.parts.broker import free_port, running_broker
from tests.parts.clips import write_clip
from tests.parts.daemon import write_quadrant_bundle
from tests.parts.doctor import by_name, one
from tests.parts.requires import require
from tests.parts.rtsp import RtspServer

CANARY = "hunter2canary"
FRONT = "cameras: {front: {url: rtsp://192.0.2.10/x}}"


def check_cameras(folder: Path, text: str) -> Iterator[Finding]:
    path = folder / "sightd.yaml"
    for name, camera in parse_settings(text.encode(), path).cameras.items():
        yield from cameras.check(name, camera, path, folder / "bundle")


class TestCameras:
    def test_a_camera_that_works_is_described(self) -> None:
        with RtspServer("clock:25", user="u", password=CANARY) as server:
            found = one(
                check_cameras(Path("/etc"), f"cameras: {{front: {{url: '{server.url()}', max_fps: 5}}}}"), "front"
            )
        assert found.level == "ok"
        assert found.says.startswith("h264, ")
        rate = float(found.says.split(" pixels, ")[1].split(" fps")[0])
        assert 10 < rate < 40
        assert found.says.endswith("of which 5 are looked at")

    def test_one_that_sends_far_more_than_the_model_needs_should_send_less(self, tmp_path: Path) -> None:
        write_quadrant_bundle(tmp_path)
        spec = open_bundle(tmp_path / "bundle").manifest.input
        for name, width in (("fit", spec.width), ("large", 2 * spec.width + 32)):
            write_clip(tmp_path / f"{name}.avi", count=30, width=width, height=width)
        found = by_name(check_cameras(tmp_path, "cameras: {fit: {url: fit.avi}, large: {url: large.avi}}"))
        assert found["fit"].level == "ok"
        assert found["large"].level == "note"
        assert f"far more than the model's {spec.width} x {spec.height} shows" in found["large"].says
        assert "sub-stream" in found["large"].fix

    def test_each_kind_of_source_has_its_own_remedy(self, tmp_path: Path) -> None:
        require("gstreamer")
        cv2.imwrite(str(tmp_path / "1.png"), np.zeros((48, 64, 3), np.uint8))
        text = f"""
cameras:
  usb: {{url: "v4l2:///dev/null"}}
  pipe: {{url: "gst: videotestsrc patern=1 user-pw={CANARY}"}}
  test: {{url: "gst: videotestsrc is-live=true ! video/x-raw,width=64,height=48"}}
  turned: {{url: "*.png", rotate: 90}}
"""
        found = by_name(check_cameras(tmp_path, text))
        assert {name: finding.level for name, finding in found.items()} == {
            "usb": "problem",
            "pipe": "problem",
            "test": "ok",
            "turned": "ok",
        }
        assert found["usb"].fix.startswith("plug it in again")
        assert found["pipe"].fix.startswith("try it with gst-launch-1.0")
        assert CANARY not in repr(found)
        assert found["test"].says.startswith("by GStreamer, 64 x 48 pixels, ")
        assert found["turned"].says.startswith("pictures, 48 x 64 pixels, ")

    def test_a_wrong_password_is_a_problem_and_stays_untold(self) -> None:
        with RtspServer("clock:25", user="u", password="right") as server:
            url = server.url().replace("right", CANARY)
            found = one(check_cameras(Path("/etc"), f"cameras: {{front: {{url: '{url}'}}}}"), "front")
        assert found.level == "problem"
        assert "the user and the password; it is cameras.front" in found.fix
        assert CANARY not in repr(found)

    def test_that_is_down_no_video_or_gone_is_a_problem(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "yard.avi", count=30)
        (tmp_path / "letter.mp4").write_text("Dear all")
        text = f"""
cameras:
  down: {{url: 'rtsp://u:{CANARY}@127.0.0.1:{free_port()}/x'}}
  letter: {{url: letter.mp4}}
  gone: {{url: gone.mp4}}
  yard: {{url: yard.avi}}
  off: {{url: rtsp://192.0.2.1/x, enabled: false}}
"""
        found = by_name(check_cameras(tmp_path, text))
        levels = {name: finding.level for name, finding in found.items()}
        assert levels == {"down": "problem", "letter": "problem", "gone": "problem", "yard": "ok", "off": "note"}
        assert list(levels) == ["down", "letter", "gone", "yard", "off"]
        assert found["yard"].says.startswith("mjpeg, 320 x 240 pixels, ")
        assert found["letter"].fix.startswith("put a video in its place")
        assert CANARY not in repr(found)

    def test_a_secret_that_can_not_be_read_is_told_without_opening_the_camera(self, tmp_path: Path) -> None:
        text = "cameras: {front: {url: rtsp://u@192.0.2.10/x, password_file: gone}}"
        found = one(check_cameras(tmp_path, text), "front")
        assert found.level == "problem"
        assert "gone can't be read" in found.says

    def test_one_that_can_not_be_opened_twice_works_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(url: str, hint: str) -> None:
            raise SourceError("one reader only")

        write_clip(tmp_path / "yard.avi", count=30)
        monkeypatch.setattr("sightd.sources.opencv.open_capture", refuses)
        found = one(check_cameras(tmp_path, "cameras: {yard: {url: yard.avi}}"), "yard")
        assert (found.level, found.says.split(",")[0]) == ("ok", "unknown codec")

    def test_opencv_that_does_not_import_is_a_problem_of_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sightd.sources", None)  # makes the import fail
        write_clip(tmp_path / "yard.avi", count=1)
        found = one(check_cameras(tmp_path, "cameras: {yard: {url: yard.avi}}"), "yard")
        assert found.fix == "mend what is said above about opencv"


class TestBroker:
    def test_one_that_takes_us_is_described(self, tmp_path: Path) -> None:
        with running_broker(tmp_path) as running:
            found = self.check(f"mqtt: {{host: 127.0.0.1, port: {running.port}}}\n{FRONT}")
        assert found.level == "ok"

    def test_one_that_refuses_the_password_is_a_problem(self, tmp_path: Path) -> None:
        with running_broker(tmp_path, users={"me": "right"}) as running:
            mqtt = f"{{host: 127.0.0.1, port: {running.port}, username: me, password: {CANARY}}}"
            found = self.check(f"mqtt: {mqtt}\n{FRONT}")
        assert found.level == "problem"
        assert CANARY not in repr(found)

    def test_one_that_is_down_is_a_problem(self) -> None:
        assert self.check(f"mqtt: {{host: 127.0.0.1, port: {free_port()}}}\n{FRONT}").level == "problem"

    def test_each_of_several_is_tried(self, tmp_path: Path) -> None:
        with running_broker(tmp_path) as running:
            mqtt = f"{{port: {free_port()}, fallbacks: ['127.0.0.1:{running.port}']}}"
            text = f"mqtt: {mqtt}\n{FRONT}"
            found = by_name(broker.check(parse_settings(text.encode(), Path("/etc/sightd/sightd.yaml"))))
        levels = {name: finding.level for name, finding in found.items()}
        assert levels == {"connection": "problem", f"connection to 127.0.0.1:{running.port}": "ok"}

    def test_a_password_file_that_is_missing_is_a_problem(self) -> None:
        found = self.check(f"mqtt: {{host: 127.0.0.1, username: me, password_file: /no/such/file}}\n{FRONT}")
        assert "/no/such/file can't be read" in found.says

    @staticmethod
    def check(text: str) -> Finding:
        (found,) = by_name(broker.check(parse_settings(text.encode(), Path("/etc/sightd/sightd.yaml")))).values()
        return found
